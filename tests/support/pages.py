"""The listings of the documentation, for tests that run them."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def recipe(page: str, name: str) -> Any:
    """The class or function of this name that a listing of the page defines."""
    listings: list[str] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    [code] = [listing for listing in listings if re.search(rf"^(class|def|async def) {name}\b", listing, re.MULTILINE)]
    scope: dict[str, Any] = {"__name__": name}
    exec(compile(code, page, "exec"), scope)
    return scope[name]
