"""The allow list: what it lets through, and above all what not."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from muxtcp.forward import AllowList, Endpoint, Forbidden
from muxtcp.forward.allow import Rule

NAMES = {"db": ["10.1.2.3"], "both": ["10.1.2.3", "192.0.2.7"], "outside": ["192.0.2.7"], "mapped": ["::ffff:10.1.2.3"]}


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was asked for: names are those of `NAMES`, and nobody outside of the test is asked."""
    asked: list[str] = []

    async def getaddrinfo(loop: Any, host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        addresses = NAMES.get(host, [host] if host[0].isdigit() or ":" in host else [])
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


def allowed(rules: list[str], target: str) -> list[str]:
    """The places that may be dialled for a target."""

    async def ask() -> list[str]:
        return [str(place) for place in await AllowList.of(rules).target(Endpoint.parse(target))]

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("rule", "target", "places"),
    [
        ("db:5432", "db:5432", ["db:5432"]),
        ("DB:5432", "db.:5432", ["db.:5432"]),
        ("db:5000-5500", "db:5432", ["db:5432"]),
        ("db:*", "db:1", ["db:1"]),
        ("*:443", "anything:443", ["anything:443"]),
        ("*.example:80", "a.b.example:80", ["a.b.example:80"]),
        ("10.0.0.0/8:5432", "10.9.9.9:5432", ["10.9.9.9:5432"]),
        ("10.0.0.0/8:5432", "db:5432", ["10.1.2.3:5432"]),
        ("10.0.0.0/8:5432", "both:5432", ["10.1.2.3:5432"]),
        ("10.0.0.0/8:5432", "mapped:5432", ["[::ffff:10.1.2.3]:5432"]),
        ("[2001:db8::/32]:80", "[2001:db8::1]:80", ["[2001:db8::1]:80"]),
        ("[::1]:80", "[::1]:80", ["[::1]:80"]),
        ("/run/db.sock", "/run/db.sock", ["/run/db.sock"]),
    ],
)
def test_what_a_rule_is_for(rule: str, target: str, places: list[str]) -> None:
    assert allowed(["nobody:1", rule], target) == places


@pytest.mark.parametrize(
    ("rules", "target"),
    [
        ([], "db:5432"),
        (["db:5432"], "db:5433"),
        (["db:5432"], "db.evil:5432"),
        (["*.example:80"], "example:80"),
        (["*.example:80"], "badexample:80"),
        (["10.0.0.0/8:5432"], "outside:5432"),
        (["10.0.0.0/8:5432"], "10.1.2.3:5433"),
        (["127.0.0.1:80"], "[::1]:80"),
        (["/run/db.sock"], "/run/other.sock"),
        (["/run/db.sock"], "/run/x/../db.sock"),
        (["*:*"], "/run/db.sock"),
    ],
)
def test_what_no_rule_is_for_is_forbidden(rules: list[str], target: str) -> None:
    with pytest.raises(Forbidden, match="is not on the gateway's allow list"):
        allowed(rules, target)


def test_nobody_is_asked_for_a_name_that_no_network_could_hold(resolver: list[str]) -> None:
    with pytest.raises(Forbidden):
        allowed(["db:1", "10.0.0.0/8:81"], "outside:80")
    assert resolver == []


def test_a_name_that_is_unknown_is_no_matter_of_permission() -> None:
    with pytest.raises(socket.gaierror, match="cannot resolve 'nobody'"):
        allowed(["10.0.0.0/8:80"], "nobody:80")


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("db", "is not a rule"),
        (":80", "is not a rule"),
        ("::1:80", "is not a rule"),
        ("10.0.0.1/8:80", "has host bits set"),
        ("10.0.0.0/40:80", "10.0.0.0/40"),
        ("db:0", "is not within 1-65535"),
        ("db:9-8", "is not within 1-65535"),
        ("db:1-65536", "is not within 1-65535"),
        ("db:http", "is not a port, a range"),
        ("db:80-", "is not a port, a range"),
        ("", "is not a rule"),
    ],
)
def test_a_malformed_rule_is_explained(rule: str, what: str) -> None:
    with pytest.raises(ValueError, match="(?s).") as caught:
        Rule.parse(rule)
    assert what in str(caught.value)


def test_listening_has_rules_of_its_own() -> None:
    async def ask(rules: list[str], place: str) -> list[Endpoint]:
        return await AllowList.of(["*:*"], rules).bind(Endpoint.listening(place))

    assert asyncio.run(ask(["localhost:8000-8099"], "8080")) == [Endpoint("localhost", 8080)]
    assert asyncio.run(ask(["localhost:*"], "0")) == [Endpoint("localhost", 0)]
    assert asyncio.run(ask(["*:80"], "*:80")) == [Endpoint("*", 80)]
    for rules, place in ([], "8080"), (["localhost:8000-8099"], "0"), (["127.0.0.1:80"], "*:80"):
        with pytest.raises(Forbidden, match="is no place that the gateway may listen on"):
            asyncio.run(ask(rules, place))


def test_a_file_has_both_kinds_of_rules(tmp_path: Path) -> None:
    path = tmp_path / "allow.conf"
    path.write_text("# targets\nallow db:5432\n\n  listen localhost:80  # for the web\n")
    allow = AllowList.of(["web:80"]) + AllowList.read(path)
    assert [rule.text for rule in allow.targets] == ["web:80", "db:5432"]
    assert [rule.text for rule in allow.binds] == ["localhost:80"]


@pytest.mark.parametrize("line", ["db:5432", "allow", "allow a:1 b:2", "deny db:5432", "allow db"])
def test_a_bad_line_of_a_file_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "allow.conf"
    path.write_text(f"allow web:80\n{line}\n")
    with pytest.raises(ValueError, match=r"allow\.conf, line 2: "):
        AllowList.read(path)
