"""Prose does not lie: code in the README runs and prints what it says, and files that are named exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROSE = [
    path
    for pattern in ("*.md", "docs/**/*.md", "ext/*.md", "tests/**/*.md", "bench/**/*.md")
    for path in ROOT.glob(pattern)
    if not {".venv", "node_modules"} & set(path.parts)
]
FILE = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|pyi|pyx|pxd|md|toml|json|js|h)|(?:[\w.-]+/)+)`")


def named(path: Path) -> list[str]:
    """The files and folders that a page names in backquotes, outside of its listings of code."""
    return FILE.findall(re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL))


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path: Path) -> None:
    missing = [name for name in named(path) if not any((base / name).exists() for base in (ROOT, path.parent))]
    assert missing == []


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def listings(page: str) -> list[tuple[str, str]]:
    """Each Python listing of a page that says what it prints: the code, and the expected output after it."""
    text = (ROOT / page).read_text()
    return re.findall(r"```python\n(.*?)```\n+It prints:\n+```text\n(.*?)```", text, re.DOTALL)


def runs_as_printed(code: str, expected: str, folder: Path) -> None:
    script = folder / "example.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.stdout) == ("", expected)


def test_the_pages_have_examples_that_print() -> None:
    assert [len(listings(page)) for page in ("README.md", "docs/SECURITY.md", "docs/adapters.md")] == [1, 2, 2]


@pytest.mark.parametrize(("code", "expected"), listings("README.md") + listings("docs/adapters.md"))
def test_code_runs_as_printed(code: str, expected: str, tmp_path: Path) -> None:
    runs_as_printed(code, expected, tmp_path)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_security_code_runs_as_printed(tmp_path: Path) -> None:
    """Its certificates are made by the commands that it gives."""
    [commands] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "SECURITY.md").read_text(), re.DOTALL)
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    for code, expected in listings("docs/SECURITY.md"):
        runs_as_printed(code, expected, tmp_path)
