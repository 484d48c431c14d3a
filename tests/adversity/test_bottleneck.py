"""The bottleneck of the benchmark does what its figures are for: it is full, and what is urgent gets through."""

import pytest
from support.network import why_not

from muxtcp.bench import bottleneck


@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.parametrize("notsent_lowat", [65_536, None])
def test_the_line_is_full_and_the_urgent_pass(notsent_lowat: int | None) -> None:
    figures = bottleneck.measure(0.5, notsent_lowat=notsent_lowat)
    assert 0 < figures.share <= 1.1
    assert 0 < figures.urgent_p50 <= figures.urgent_p99
    assert 0 < figures.bulk_p50 <= figures.bulk_p99


def test_what_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RuntimeError, match=r"ip cannot be run"):
        bottleneck.measure(0.1)
