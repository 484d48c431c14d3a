import re
from importlib.metadata import version
from pathlib import Path

import muxtcp

ROOT = Path(__file__).parents[2]


def test_all_is_what_there_is() -> None:
    public = {
        name for name, value in vars(muxtcp).items() if not name.startswith("_") and not hasattr(value, "__path__")
    }
    modules = {name for name in public if type(getattr(muxtcp, name)).__name__ == "module"}
    assert sorted(public - modules) == sorted(muxtcp.__all__)


def test_all_is_sorted_and_without_doubles() -> None:
    assert muxtcp.__all__ == sorted(set(muxtcp.__all__))


def test_init_only_re_exports() -> None:
    lines = (ROOT / "muxtcp" / "__init__.py").read_text().split('"""')[2].splitlines()
    code = [line for line in lines if line and not line.startswith((" ", ")", "]"))]
    assert all(re.match(r"from muxtcp\.\w+ import |__version__ = |__all__ = \[", line) for line in code), code


def test_everything_public_has_a_docstring() -> None:
    assert [name for name in muxtcp.__all__ if not getattr(getattr(muxtcp, name), "__doc__", None)] == []


def test_one_version() -> None:
    assert version("muxtcp") == muxtcp.__version__
    assert f"## {muxtcp.__version__}" in (ROOT / "CHANGELOG.md").read_text()
