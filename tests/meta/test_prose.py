"""Prose does not lie: code in the README runs and prints what it says, and files that are named exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROSE = [
    path
    for pattern in ("*.md", "docs/**/*.md", "ext/*.md", "tests/**/*.md", "bench/**/*.md")
    for path in ROOT.glob(pattern)
    if ".venv" not in path.parts
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


def listings() -> list[tuple[str, str]]:
    """Each Python listing of the README that says what it prints: the code, and the expected output after it."""
    text = (ROOT / "README.md").read_text()
    return re.findall(r"```python\n(.*?)```\n+It prints:\n+```text\n(.*?)```", text, re.DOTALL)


def test_the_readme_has_an_example_that_prints() -> None:
    assert listings()


@pytest.mark.parametrize(("code", "expected"), listings())
def test_readme_code_runs_as_printed(code: str, expected: str, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stderr, done.stdout) == ("", expected)
