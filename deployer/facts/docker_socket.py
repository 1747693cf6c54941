"""One question to a Docker Engine, with a limit on the whole time it may take.

A GET over a unix socket needs 25 lines; `http.client` costs 23 ms to import and `docker` 86 ms, so the library is used
only for addresses that need it (TLS, ssh).
"""

import math
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

_LIMIT_BYTES = 16 * 1024 * 1024


class Reply(msgspec.Struct, frozen=True):
    """What came of the question: the body and API version, or `failure` (a word) with `detail`.

    `failure` is one of absent, refused, permission, timeout, status, address, protocol.
    """

    host: str
    body: bytes = b""
    api_version: str | None = None
    failure: str | None = None
    detail: str = ""


def get_info(host: str, timeout_s: float, certificates: Path | None = None) -> Reply:
    """Ask `GET /info`; `certificates` is a folder of `ca.pem`, `cert.pem`, `key.pem` for TLS. Never raises."""
    parts = urlsplit(host)
    secured = certificates is not None or bool(os.environ.get("DOCKER_TLS_VERIFY"))
    if parts.scheme == "unix" or (parts.scheme in {"tcp", "http"} and not secured):
        return _plain(host, timeout_s)
    if parts.scheme in {"tcp", "https", "ssh"}:
        return _by_library(host, timeout_s, certificates)
    return Reply(host, failure="address", detail="the address must start with unix://, tcp:// or ssh://")


def _plain(host: str, timeout_s: float) -> Reply:
    """Speak HTTP/1.0, so that the engine closes the connection after a body that is not in chunks."""
    try:
        raw = _exchange(host, b"GET /info HTTP/1.0\r\nHost: docker\r\n\r\n", time.monotonic() + timeout_s)
    except TimeoutError:
        return Reply(host, failure="timeout", detail=f"{timeout_s:g} s")
    except PermissionError as error:
        return Reply(host, failure="permission", detail=error.strerror or "")
    except FileNotFoundError as error:
        return Reply(host, failure="absent", detail=error.strerror or "")
    except (OSError, ValueError) as error:
        return Reply(host, failure="refused", detail=str(error))
    return read_reply(host, raw)


def read_reply(host: str, raw: bytes) -> Reply:
    """Take an HTTP/1 answer apart."""
    head, separator, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    protocol, _, status = lines[0].partition(" ")
    if not separator or not protocol.startswith("HTTP/"):
        return Reply(host, failure="protocol", detail="the answer is not HTTP")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if not status.startswith("200"):
        return Reply(host, failure="status", detail=status)
    return Reply(host, body=body, api_version=headers.get("api-version"))


def _exchange(host: str, request: bytes, deadline: float) -> bytes:
    """Send, and read to the end; the deadline holds for all of it."""
    with _connect(host, deadline) as connection:
        connection.sendall(request)
        received = bytearray()
        while len(received) < _LIMIT_BYTES:
            connection.settimeout(_left(deadline))
            block = connection.recv(65536)
            if not block:
                break
            received += block
        return bytes(received)


def _connect(host: str, deadline: float) -> socket.socket:
    parts = urlsplit(host)
    if parts.scheme != "unix":
        return socket.create_connection((parts.hostname or "", parts.port or 2375), timeout=_left(deadline))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(_left(deadline))
        connection.connect(parts.netloc + parts.path)
    except OSError:
        connection.close()
        raise
    return connection


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _by_library(host: str, timeout_s: float, certificates: Path | None) -> Reply:
    """Let the docker library do TLS and ssh, as DOCKER_TLS_VERIFY and DOCKER_CERT_PATH say, or the context's files."""
    import docker
    import docker.errors
    import requests

    try:
        settings = {**os.environ, "DOCKER_HOST": host}
        if certificates is not None:
            settings |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(certificates)}
        client = docker.from_env(timeout=math.ceil(timeout_s), use_ssh_client=True, environment=settings)
        try:
            info, version = client.info(), str(client.api.api_version)
        finally:
            client.close()
    except requests.exceptions.Timeout:
        return Reply(host, failure="timeout", detail=f"{timeout_s:g} s")
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        return Reply(host, failure="refused", detail=str(error))
    return Reply(host, body=msgspec.json.encode(info), api_version=version)
