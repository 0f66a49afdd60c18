"""Does a peer really do what the case is about? Asked by hand before its first measurement."""

from __future__ import annotations

import http.client
import time

from harness import client
from harness.cases import Case
from harness.origin import Origin
from harness.peers import Server

TRIES = 40
ENOUGH = 5
"""Right answers in a row: some go wrong from the second on."""


class NotThis(Exception):
    """The peer does not do this case; the message says what it does instead."""


def able(server: Server, case: Case) -> None:
    """Raises NotThis where the peer cannot do the case at all."""
    if case.tls and not server.peer.tls:
        raise NotThis("ends no TLS")
    if case.h2 and not server.peer.h2:
        raise NotThis("speaks no HTTP/2 by TLS")


def headers_for(server: Server, case: Case) -> dict[str, str]:
    """The case's fields, and the ETag where it is conditional."""
    if not case.conditional:
        return case.headers
    etag = client.get(server.http_port, case.path).headers.get("etag")
    if etag is None:
        raise NotThis("gives no ETag")
    return {**case.headers, "If-None-Match": etag}


def prepare(server: Server, case: Case, origin: Origin) -> dict[str, str]:
    """Warms the cache, checks status, length, protocol and whether the origin is asked; gives the fields to send."""
    able(server, case)
    try:
        headers = headers_for(server, case)
        if case.h2 and client.alpn(server.https_port) != "h2":
            raise NotThis("does not choose h2 by ALPN")
        if server.peer.fixed:
            return headers
        _warm(server, case, origin, headers)
    except (OSError, http.client.HTTPException) as error:
        raise NotThis(f"no answer: {error}") from error
    return headers


def _warm(server: Server, case: Case, origin: Origin, headers: dict[str, str]) -> None:
    port = server.https_port if case.tls else server.http_port
    right = 0
    for attempt in range(TRIES):
        path = f"{case.path}check-{time.monotonic_ns()}" if case.unique else case.path
        before = origin.requests()
        answer = client.get(port, path, case.tls, headers)
        asked = origin.requests() - before
        if (answer.status, answer.length) != (case.status, case.body):
            # A cache that has nothing yet may answer a range or a condition with the whole object.
            if attempt + ENOUGH < TRIES and not case.from_origin and answer.status == 200:
                client.get(port, path, case.tls)
                continue
            raise NotThis(f"answers {answer.status} with {answer.length} bytes in place of {case.status} with {case.body}")
        right = right + 1 if (asked > 0) == case.from_origin else 0
        if right == ENOUGH:
            return
        if right == 0:
            time.sleep(0.02)  # Some store a moment after they have answered.
    raise NotThis("never answers from its cache" if not case.from_origin else "answers without asking the origin")
