"""Prose does not lie: code in the README runs and prints what it says, and files that are named exist."""

import re
import shutil
import socket
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
EXAMPLES = {"README.md": 1, "docs/channels.md": 1, "docs/reconnecting.md": 1, "docs/adapters.md": 2}  # that run alone
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
    return re.findall(r"```python\n((?:(?!```).)*)```\n+It prints:\n+```text\n(.*?)```", text, re.DOTALL)


def runs_as_printed(code: str, expected: str, folder: Path) -> None:
    script = folder / "example.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.stdout) == ("", expected)


def test_the_pages_have_examples_that_print() -> None:
    assert {page: len(listings(page)) for page in EXAMPLES} == EXAMPLES
    assert len(listings("docs/SECURITY.md")) == 2


@pytest.mark.parametrize(("code", "expected"), [each for page in EXAMPLES for each in listings(page)])
def test_code_runs_as_printed(code: str, expected: str, tmp_path: Path) -> None:
    runs_as_printed(code, expected, tmp_path)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_security_code_runs_as_printed(tmp_path: Path) -> None:
    """Its certificates are made by the commands that it gives."""
    [commands] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "SECURITY.md").read_text(), re.DOTALL)
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    for code, expected in listings("docs/SECURITY.md"):
        runs_as_printed(code, expected, tmp_path)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze looks at units")
def test_systemd_has_no_complaint_of_the_units(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "forwarder.md").read_text()
    units = re.findall(r"`/etc/systemd/system/(\S+)`[^\n]*\n\n```ini\n(.*?)```", page, re.DOTALL)
    assert len(units) == 2
    for name, unit in units:
        (tmp_path / name).write_text(unit.replace("/opt/muxtcp/bin/muxtcp", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", *tmp_path.iterdir()], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_quick_start_is_two_files_that_run(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "quick-start.md").read_text()
    files = re.findall(r"The file \*(\w+\.py)\*:\n\n```python\n(.*?)```", page, re.DOTALL)
    assert [name for name, _ in files] == ["service.py", "client.py"]
    port = str(free_port())
    for name, code in files:
        assert "7777" in code
        (tmp_path / name).write_text(code.replace("7777", port))
    [expected] = re.findall(r"It prints:\n+```text\n(.*?)```", page, re.DOTALL)
    command = [sys.executable, "-W", "error"]
    with subprocess.Popen([*command, "service.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            assert service.stdout.readline() == f"serving on tcp://127.0.0.1:{port}\n"
            runs_as_printed((tmp_path / "client.py").read_text(), expected, tmp_path)
        finally:
            service.terminate()
        assert service.wait(60) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
