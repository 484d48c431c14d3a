"""TLS contexts for the tests: the certificate is self-signed, for localhost, and protects nothing."""

import ssl
from pathlib import Path

CERTIFICATE = Path(__file__).with_name("localhost.pem")


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_context() -> ssl.SSLContext:
    """It trusts the server's certificate, which is for the host "localhost"."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))
