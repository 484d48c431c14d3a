"""Who may import whom: the rooms as in the table of ext/README.md, the Python files as in RANKS."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE, ROOMS = ROOT / "muxtcp", ROOT / "ext" / "muxtcp"
SOURCES = sorted({*ROOMS.glob("_*.pyx"), *ROOMS.glob("_*.pxd")} - {ROOMS / "__init__.pxd"})
ORDER = re.findall(r"^\| `(_\w+)` \|", (ROOT / "ext" / "README.md").read_text(), re.MULTILINE)
WITHOUT_IO = ORDER[: ORDER.index("_engine") + 1]
FORBIDDEN = {"asyncio", "socket", "time", "random", "logging", "os", "threading"}

# A file of the package may import those of a lower rank: leaves import nothing of ours, and nothing imports __init__.
RANKS = [
    {"errors", "config", "backoff", "codecs", "states", "forks", "gate", "sockets", "tls", "authentication", "runner"}
    | {"threads"},
    {"isolation", "opening", "resumption"},
    {"lasting", "transport"},
    {"parking", "serving", "streams"},
    {"adapters"},
    {"session"},
    {"admission", "attempt"},
    {"client", "server"},
    {"__init__"},
]
REACH_IN = {"session", "opening", "serving", "lasting", "parking", "resumption", "transport", "streams", "adapters"}
# What stands on the public API, and on this beside it: the forwarder dials and listens as the library does.
BESIDE = {"forward": {"isolation", "sockets"}, "cli": {"forward"}, "__main__": {"cli"}}
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}


def cimports(source: Path) -> set[str]:
    """The rooms that a Cython file cimports, by whichever of the three spellings."""
    text = source.read_text()
    found = set(re.findall(r"^\s*from \.(_\w+) cimport", text, re.MULTILINE))
    for names in re.findall(r"^\s*from \. cimport ([\w, ]+)", text, re.MULTILINE):
        found.update(name.strip().split(" ")[0] for name in names.split(","))
    found.update(re.findall(r"^\s*(?:from|cimport) muxtcp\.(_\w+)", text, re.MULTILINE))
    return found


def imports(source: Path) -> set[str]:
    """The modules of the package that a Python file imports, by their name in it ("" for the package itself)."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if node.level == 0 else []  # a relative import stays in its own folder
            assert node.level <= 1
        found.update(name.removeprefix("muxtcp").removeprefix(".") for name in names if name.split(".")[0] == "muxtcp")
    return found


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_cimports_go_up_the_table(source: Path) -> None:
    assert source.stem in ORDER, "a new room has its line in ext/README.md"
    allowed = {*ORDER[: ORDER.index(source.stem)], source.stem}
    assert cimports(source) <= allowed


def test_the_table_names_existing_rooms() -> None:
    assert set(ORDER) == {source.stem for source in SOURCES}


@pytest.mark.parametrize("source", [s for s in SOURCES if s.stem in WITHOUT_IO], ids=lambda source: source.name)
def test_the_machine_has_no_io(source: Path) -> None:
    text = source.read_text()
    found = set(re.findall(r"^\s*(?:from|import|cimport) (\w+)", text, re.MULTILINE))
    assert not found & FORBIDDEN


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_habits_of_the_rooms(source: Path) -> None:
    text = source.read_text()
    assert not re.search(r"cimport \*", text), "no star cimport"
    assert not re.search(r"^\s*(DEF|IF) ", text, re.MULTILINE), "no DEF, no IF"
    assert not re.search(r"^# ?cython:", text, re.MULTILINE), "directives are in setup.py only"


@pytest.mark.parametrize("name", RANK)
def test_imports_go_down_the_ranks(name: str) -> None:
    for module in imports(PACKAGE / f"{name}.py"):
        if module.startswith("_"):
            assert name in REACH_IN, f"{name} reaches into the compiled room {module}"
        else:
            assert module in RANK, f"{name} imports {module or 'the package'}"
            assert RANK[module] < RANK[name]


def test_everything_else_uses_the_public_api() -> None:
    public = {"", "errors", "config", "backoff", "codecs", "streams", "testing"}
    for source in PACKAGE.rglob("*.py"):
        inside = source.relative_to(PACKAGE).with_suffix("").parts
        if inside[0] in RANK or inside[0] == "testing":
            continue
        foreign = {module for module in imports(source) if module.split(".")[0] != inside[0]}
        foreign -= {module for module in foreign if module.split(".")[0] in BESIDE.get(inside[0], ())}
        assert foreign <= public, f"{'/'.join(inside)} imports {foreign - public}"
