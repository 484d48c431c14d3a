"""Files over HTTP: a page, and the JavaScript module that it imports."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.http11 import Response

TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8", ".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png",
    ".ico": "image/x-icon", ".woff2": "font/woff2", ".wasm": "application/wasm", ".ts": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-cache",
}


class Pages:
    """Folders of files, each under a path.

    Args:
        folders: "/" or a path that begins and ends with it, and the folder whose files are there.

    Raises:
        ValueError: a path is of another form, or a folder is not there.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        wrong = [path for path in folders if not (path.startswith("/") and path.endswith("/"))]
        missing = [str(folder) for folder in folders.values() if not folder.is_dir()]
        if wrong or missing:
            findings = [f"{path!r} does not begin and end with /" for path in wrong] + [
                f"no folder {it}" for it in missing
            ]
            raise ValueError("; ".join(findings))
        # The longest path first: it is the closest.
        self._folders = sorted(
            ((path, folder.resolve()) for path, folder in folders.items()), key=lambda it: -len(it[0])
        )

    def respond(self, path: str) -> Response | None:
        """The answer to a GET, or None if there is no such file."""
        wanted = unquote(path)
        for prefix, folder in self._folders:
            if wanted.startswith(prefix) and "\0" not in wanted:
                file = (folder / (wanted.removeprefix(prefix) or "index.html")).resolve()
                if file.is_relative_to(folder) and file.is_file():
                    return _response(file)
        return None


def _response(file: Path) -> Response:
    body = file.read_bytes()
    kind = TYPES.get(file.suffix, "application/octet-stream")
    headers = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    return Response(200, "OK", Headers(headers), body)
