"""Secrets that do not show themselves, and whom a certificate names."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import pytest

from muxtcp import Credentials, same_secret
from muxtcp.authentication import Secret, Token, certificate_identity


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("token", "token", True),
        ("token", b"token", True),
        (b"token", Secret(b"token"), True),
        ("pässwörd", "pässwörd".encode(), True),
        ("\ud800", "\ud800", True),
        ("token", "Token", False),
        ("token", "token ", False),
        ("", "", False),
        (b"", "", False),
        ("token", "", False),
    ],
)
def test_same_secret(a: str | bytes, b: str | bytes, same: bool) -> None:
    assert same_secret(a, b) is same
    assert same_secret(b, a) is same


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret(b"s3cr3t")
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr({"psk": secret}), "%s" % secret):  # noqa: UP031
        assert shown.strip("{}'psk: ") == "<secret of 6 bytes>"
    assert secret == b"s3cr3t"
    assert bytes(secret) == b"s3cr3t"
    assert type(bytes(secret)) is bytes


def test_a_secret_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="a secret cannot be pickled"):
        pickle.dumps(Secret(b"s3cr3t"))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, dataclasses.replace])
def test_what_holds_a_secret_can_be_copied(copied: Any) -> None:
    credentials = Credentials(token=Secret(b"s3cr3t"), meta={"name": "value"}, certificate=None, address=None)
    assert copied(credentials) == credentials
    assert copied(credentials).token is credentials.token
    assert dataclasses.asdict(credentials)["token"] is credentials.token


def test_no_warning_of_bytes_in_text() -> None:
    """Python -bb makes str() of bytes an error."""
    code = "from muxtcp.authentication import Secret; print(str(Secret(b'x')), f'{Secret()}')"
    done = subprocess.run([sys.executable, "-bb", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("<secret of 1 bytes> <secret of 0 bytes>\n", "")


NAMED = ((("countryName", "XX"),), (("commonName", "worker"), ("serialNumber", "7")))


@pytest.mark.parametrize(
    ("certificate", "identity"),
    [
        (None, None),
        ({}, None),
        ({"subject": ()}, None),
        ({"subject": NAMED}, "worker"),
        ({"subject": NAMED, "subjectAltName": (("IP Address", "10.0.0.7"), ("email", "a@b"))}, None),
        ({"subject": NAMED, "subjectAltName": (("IP Address", "10.0.0.7"), ("DNS", "a"), ("DNS", "b"))}, "a"),
        ({"subject": NAMED, "subjectAltName": (("DNS", "a"), ("URI", "urn:7"), ("URI", "urn:8"))}, "urn:7"),
        ({"subject": NAMED, "subjectAltName": (("URI", ""), ("DNS", ""))}, None),
        ({"subject": ((("commonName", "spiffe://mesh/billing"),),)}, None),
        ({"subject": ((("commonName", ""),), (("commonName", "worker"),))}, "worker"),
    ],
)
def test_whom_a_certificate_names(certificate: dict[str, Any] | None, identity: str | None) -> None:
    assert certificate_identity(certificate) == identity


@pytest.mark.parametrize("source", [None, 5, ["token"]])
def test_what_is_no_token(source: Any) -> None:
    with pytest.raises(TypeError, match=f"auth is text or bytes, not of type {type(source).__name__}"):
        Token(source)
