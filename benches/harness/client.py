"""A few requests by hand: is it up, and does it answer as it should?"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from harness.places import HOST


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    length: int
    headers: dict[str, str]


def trusting() -> ssl.SSLContext:
    """TLS 1.3 without verification: the servers are our own, on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def get(port: int, path: str, tls: bool = False, headers: dict[str, str] | None = None, host: str = HOST) -> Answer:
    """One GET. Raises OSError or http.client.HTTPException where there is no answer."""
    if tls:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(HOST, port, timeout=10, context=trusting())
    else:
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": f"{host}:{port}", **(headers or {})})
        response = connection.getresponse()
        body = response.read()
        return Answer(response.status, len(body), {name.lower(): value for name, value in response.getheaders()})
    finally:
        connection.close()


def answers(port: int, path: str, host: str = HOST) -> bool:
    """Whether a GET is answered with 200 now."""
    try:
        return get(port, path, host=host).status == 200
    except (OSError, http.client.HTTPException):
        return False


def alpn(port: int) -> str | None:
    """The protocol that a TLS server chooses from h2 and http/1.1."""
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((HOST, port), timeout=10) as plain, context.wrap_socket(plain, server_hostname=HOST) as tls:
        return tls.selected_alpn_protocol()
