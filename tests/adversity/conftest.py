"""What the tests of real processes share."""

from collections.abc import Iterator

import pytest
from support import loops
from support.network import Network, why_not


@pytest.fixture(params=loops.NAMES)
def loop(request: pytest.FixtureRequest) -> str:
    """The loop that the processes run on."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return str(request.param)


@pytest.fixture
def network() -> Iterator[Network]:
    """Two namespaces with a cable."""
    if reason := why_not():
        pytest.skip(reason)
    with Network() as network:
        yield network
