import doctest

from muxtcp import gate
from muxtcp.gate import Gate, origin


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(gate).failed == 0


def test_the_addresses_of_one_network_are_one_origin() -> None:
    assert origin("2001:db8:0:1::1") == origin("2001:db8:0:1:ffff::") != origin("2001:db8:0:2::1")


def test_what_leaves_makes_room() -> None:
    gate = Gate(3, 2)
    gate.enter("a")
    gate.enter("a")
    assert (gate.refusal("a"), gate.refusal("b")) == ("over_max_handshakes_per_address", None)
    gate.enter("b")
    assert gate.refusal("b") == gate.refusal("c") == "over_max_handshakes"
    gate.leave("a")
    assert gate.refusal("a") is gate.refusal("b") is None


def test_who_has_left_is_forgotten() -> None:
    gate = Gate(3, 2)
    for number in range(1_000):
        gate.enter(f"192.0.2.{number}")
        gate.leave(f"192.0.2.{number}")
    assert not gate._inside_of


def test_local_peers_are_not_told_apart() -> None:
    gate = Gate(3, 1)
    gate.enter("")
    gate.enter("")
    assert gate.refusal("") is None
