"""Secrets that do not show themselves, and whom a certificate names."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from muxtcp import same_secret
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


@pytest.mark.parametrize("write", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_secret_is_not_written_down(write: Any) -> None:
    with pytest.raises(TypeError, match="a secret is not written down"):
        write(Secret(b"s3cr3t"))


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
        ({"subject": NAMED, "subjectAltName": (("IP Address", "10.0.0.7"), ("email", "a@b"))}, "worker"),
        ({"subject": NAMED, "subjectAltName": (("IP Address", "10.0.0.7"), ("DNS", "a"), ("DNS", "b"))}, "a"),
        ({"subject": NAMED, "subjectAltName": (("DNS", "a"), ("URI", "urn:7"), ("URI", "urn:8"))}, "urn:7"),
        ({"subject": NAMED, "subjectAltName": (("URI", ""), ("DNS", ""))}, "worker"),
    ],
)
def test_whom_a_certificate_names(certificate: dict[str, Any] | None, identity: str | None) -> None:
    assert certificate_identity(certificate) == identity


@pytest.mark.parametrize("source", [None, 5, ["token"]])
def test_what_is_no_token(source: Any) -> None:
    with pytest.raises(TypeError, match=f"auth is text or bytes, not of type {type(source).__name__}"):
        Token(source)
