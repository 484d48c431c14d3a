"""What the tests of real processes share."""

import pytest
from support import loops


@pytest.fixture(params=loops.NAMES)
def loop(request: pytest.FixtureRequest) -> str:
    """The loop that the processes run on."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)
