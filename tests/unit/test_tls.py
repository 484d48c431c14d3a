"""What an error of OpenSSL means at either end, and the alert of a handshake that fails."""

import contextlib
import gc
import re
import ssl
import weakref
from pathlib import Path

import pytest
from support.tls import client_context, server_context

from muxtcp import tls
from muxtcp.tls import StandIn, explained, finding, refusal


def error(reason: str | None = None, verify_code: int | None = None) -> ssl.SSLError:
    made = (ssl.SSLError if verify_code is None else ssl.SSLCertVerificationError)(1, f"[SSL: {reason}] in its words")
    made.reason = reason
    if verify_code is not None:
        made.verify_code = verify_code  # type: ignore[attr-defined]
    return made


FINDINGS = [
    ("CERTIFICATE_VERIFY_FAILED", 10, "server_certificate_expired", "client_certificate_expired"),
    ("CERTIFICATE_VERIFY_FAILED", 62, "server_certificate_wrong_host", "client_certificate_wrong_host"),
    ("CERTIFICATE_VERIFY_FAILED", 20, "server_certificate_untrusted", "client_certificate_untrusted"),
    ("CERTIFICATE_VERIFY_FAILED", 9, "server_certificate_invalid", "client_certificate_invalid"),
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", None, "server_certificate_missing", "client_certificate_missing"),
    ("TLSV13_ALERT_CERTIFICATE_REQUIRED", None, "client_certificate_missing", "server_certificate_missing"),
    ("SSLV3_ALERT_CERTIFICATE_EXPIRED", None, "client_certificate_expired", "server_certificate_expired"),
    ("TLSV1_ALERT_UNKNOWN_CA", None, "client_certificate_untrusted", "server_certificate_untrusted"),
    ("SSLV3_ALERT_BAD_CERTIFICATE", None, "client_certificate_rejected", "server_certificate_rejected"),
    ("SSLV3_ALERT_CERTIFICATE_REVOKED", None, "client_certificate_rejected", "server_certificate_rejected"),
    ("UNSUPPORTED_PROTOCOL", None, "no_common_version", "no_common_version"),
    ("TLSV1_ALERT_PROTOCOL_VERSION", None, "no_common_version", "no_common_version"),
    ("NO_SHARED_CIPHER", None, "no_common_cipher", "no_common_cipher"),
    ("SSLV3_ALERT_HANDSHAKE_FAILURE", None, "no_common_cipher", "no_common_cipher"),
    ("WRONG_VERSION_NUMBER", None, "plain_peer", "plain_peer"),
    ("HTTP_REQUEST", None, "plain_peer", "plain_peer"),
    ("TLSV1_ALERT_INTERNAL_ERROR", None, "failed", "failed"),
    ("SOMETHING_NEW", None, "failed", "failed"),
    (None, None, "failed", "failed"),
]


@pytest.mark.parametrize(("reason", "verify_code", "on_client", "on_server"), FINDINGS)
def test_findings(reason: str | None, verify_code: int | None, on_client: str, on_server: str) -> None:
    found = error(reason, verify_code)
    assert (finding(found, client=True).name, finding(found, client=False).name) == (on_client, on_server)
    assert finding(found, client=True).passes is (on_client == "failed")


def test_the_page_names_the_counters() -> None:
    """All that a server can find: it does not look for a host, and its own certificate is never missing."""
    found = {f"tls_{finding(error(reason, code), client=False).name}" for reason, code, *_ in FINDINGS}
    impossible = {"tls_client_certificate_wrong_host", "tls_server_certificate_missing"}
    page = Path(__file__).parents[2] / "docs" / "SECURITY.md"
    assert set(re.findall(r"`(tls_\w+)`", page.read_text())) == found - impossible


def test_an_error_that_openssl_did_not_make() -> None:
    assert finding(ssl.SSLError(), client=True).passes


def test_the_words_for_it_and_what_is_kept() -> None:
    found = explained(error("CERTIFICATE_VERIFY_FAILED", 10), "cannot connect to h:1", client=True)
    assert type(found) is ssl.SSLCertVerificationError
    assert (found.errno, found.reason, found.verify_code) == (1, "CERTIFICATE_VERIFY_FAILED", 10)
    assert str(found) == (
        "cannot connect to h:1: the server's certificate has expired: [SSL: CERTIFICATE_VERIFY_FAILED] in its words"
    )


def test_what_a_server_has_against_a_certificate() -> None:
    assert refusal(error("TLSV13_ALERT_CERTIFICATE_REQUIRED")) == "the client's certificate is missing"
    assert refusal(error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC")) is None
    assert refusal(error("TLSV1_ALERT_INTERNAL_ERROR")) is None
    assert refusal(ConnectionResetError()) is None
    assert refusal(None) is None


def test_a_clients_own_context() -> None:
    context = tls.client_context()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


class End:
    def __init__(self, context: ssl.SSLContext, **options: object) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **options)  # type: ignore[arg-type]

    def step(self, other: "End") -> None:
        """As the loops do it."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        other.incoming.write(self.outgoing.read())


def test_a_handshake_that_succeeds() -> None:
    server = End(StandIn(server_context()), server_side=True)
    client = End(StandIn(client_context()), server_hostname="localhost")
    for one, other in [(client, server), (server, client)] * 2:
        one.step(other)
    assert client.tls.version() == server.tls.version() == "TLSv1.3"


def test_a_handshake_that_fails_has_an_alert() -> None:
    server = End(server_context(), server_side=True)
    client = End(StandIn(client_context()), server_hostname="elsewhere.example")
    client.step(server)
    server.step(client)
    with pytest.raises(ssl.SSLCertVerificationError) as failed:
        client.step(server)
    assert client.outgoing.read() == b""
    server.incoming.write(failed.value.alert)  # type: ignore[attr-defined]
    with pytest.raises(ssl.SSLError, match="SSLV3_ALERT_BAD_CERTIFICATE"):
        server.tls.do_handshake()


def test_it_keeps_nothing_alive() -> None:
    gc.disable()
    try:
        end = End(StandIn(client_context()), server_hostname="localhost")
        alive = weakref.ref(end.tls)
        del end
        assert alive() is None
    finally:
        gc.enable()
