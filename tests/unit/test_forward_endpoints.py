"""What the forwarder's command line says, as values."""

import re

import pytest

from muxtcp.forward import Endpoint, Forwarding

FORWARDINGS = {
    "5432:db:5432": "localhost:5432 -> db:5432",
    "0.0.0.0:80:10.0.0.1:8080": "0.0.0.0:80 -> 10.0.0.1:8080",
    "*:80:web:80": "*:80 -> web:80",
    "0:web:80": "localhost:0 -> web:80",
    "[::1]:80:[fe80::1]:81": "[::1]:80 -> [fe80::1]:81",
    "80:[::1]:81": "localhost:80 -> [::1]:81",
    "/run/a.sock:web:80": "/run/a.sock -> web:80",
    "80:/run/b.sock": "localhost:80 -> /run/b.sock",
    "127.0.0.1:80:/run/b.sock": "127.0.0.1:80 -> /run/b.sock",
    "/run/a.sock:/run/b.sock": "/run/a.sock -> /run/b.sock",
}
BAD_FORWARDINGS = {
    "": "is not [bind:]port:host:port",
    "80": "is not [bind:]port:host:port",
    "80:web": "is not [bind:]port:host:port",
    "a:b:c:d:e": "is not [bind:]port:host:port",
    "80:web:0": "'0' is not a port from 1 to 65535",
    "80:web:65536": "'65536' is not a port from 1 to 65535",
    "65536:web:80": "'65536' is not a port from 0 to 65535",
    "http:web:80": "'http' is not a port",
    "٨٠:web:80": "is not a port",
    "-1:web:80": "is not a port",
    "80::80": "names no host",
    ":80:web:80": "write port, bind:port, *:port or /path",
    "[::1:80:web:80": "has a bracket out of place",
    "80:[::1]x:80": "has a bracket out of place",
    "::1:80:web:80": "is not [bind:]port:host:port",
}


@pytest.mark.parametrize(("text", "meant"), FORWARDINGS.items())
def test_a_forwarding_is_read(text: str, meant: str) -> None:
    assert str(Forwarding.parse(text)) == meant


@pytest.mark.parametrize(("text", "what"), BAD_FORWARDINGS.items())
def test_a_malformed_forwarding_is_explained(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)) as caught:
        Forwarding.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["db:5432", "[::1]:80", "/run/x.sock", "10.0.0.1:1"])
def test_an_endpoint_is_written_as_it_is_read(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize("text", ["db", "db:", ":80", "db:0", "run/x.sock", "a:b:1", "/run/x:1", ""])
def test_a_malformed_endpoint_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        Endpoint.parse(text)


@pytest.mark.parametrize(
    ("text", "meant"), [("1080", "localhost:1080"), ("*:0", "*:0"), ("[::]:1", "[::]:1"), ("/run/x", "/run/x")]
)
def test_a_place_to_listen_is_read(text: str, meant: str) -> None:
    assert str(Endpoint.listening(text)) == meant


@pytest.mark.parametrize("text", ["", "a:b:1", ":1", "x", "run/x"])
def test_a_malformed_place_to_listen_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        Endpoint.listening(text)
