"""A small client for OpenAI-compatible servers that trusts nothing it is sent.

Bodies are bounded in bytes and time, shapes are checked, redirects are not followed, and the key travels in one header.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deployer.errors import BadInputError
from deployer.health.answers import (
    Answer,
    Answering,
    Listed,
    ProtocolError,
    read_answer,
    read_models,
    read_texts,
    read_vectors,
)
from deployer.health.scores import RERANK, read_scores
from deployer.health.wire import bounded, decoded, lines, refuse_failure, shown

if TYPE_CHECKING:
    import requests

Message = Mapping[str, object]

CONNECT_TIMEOUT_S = 5.0
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Client:
    """Requests to one server. Raises ProtocolError for whatever is not a proper answer; the key is never in it."""

    def __init__(self, base_url: str, key: str | None, *, timeout_s: float = 120.0) -> None:
        """`base_url` with or without `/v1`; raises BadInputError for one that is not HTTP, or for an unusable key."""
        self.base_url = checked_url(base_url)
        self._key = checked_key(key)
        self._timeout_s = timeout_s
        self._until = float("inf")

    def limit(self, seconds: float) -> None:
        """Let no request from now on end later than this many seconds from now."""
        self._until = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until that limit."""
        return self._until - time.monotonic()

    def health(self, path: str, *, timeout_s: float = 1.0) -> int:
        """Return the HTTP status of a health path."""
        with self._exchange("GET", path, key=self._key, timeout_s=timeout_s) as (response, _):
            return int(response.status_code)

    def models(self) -> tuple[Listed, ...]:
        """Return what `/v1/models` lists."""
        return read_models(self._json("GET", "/v1/models", None))

    def chat(self, messages: Sequence[Message], *, model: str, max_tokens: int, **options: object) -> Answer:
        """Return one whole answer of `/v1/chat/completions`; `options` are further fields of the request."""
        body = {"model": model, "messages": list(messages), "max_tokens": max_tokens, **options}
        began = time.monotonic()
        document = self._json("POST", "/v1/chat/completions", body)
        return read_answer(document, seconds=time.monotonic() - began)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        model: str,
        max_tokens: int,
        into: Answering | None = None,
        enough: Callable[[Answering], bool] | None = None,
        **options: object,
    ) -> Answering:
        """Return one streamed answer, with the time of every piece; `into` has what came also when this fails.

        `enough`, asked after every piece, may cut the answer off: the connection is closed, and servers stop computing.
        """
        body = {"model": model, "messages": list(messages), "max_tokens": max_tokens, **options}
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        seen = Answering() if into is None else into
        with self._exchange("POST", "/v1/chat/completions", body, key=self._key) as (response, chunks):
            refuse_failure(response, chunks)
            for line in lines(chunks):
                seen.take(line)
                if enough is not None and enough(seen):
                    break
        return seen

    def complete(self, prompts: Sequence[str], *, model: str, max_tokens: int) -> tuple[str, ...]:
        """Return the texts that one request to `/v1/completions` gives for several prompts, in their order."""
        body = {"model": model, "prompt": list(prompts), "max_tokens": max_tokens, "temperature": 0}
        return read_texts(self._json("POST", "/v1/completions", body))

    def vectors(self, texts: Sequence[str], *, model: str) -> tuple[tuple[float, ...], ...]:
        """Return the vectors that one request to `/v1/embeddings` gives for several texts."""
        return read_vectors(self._json("POST", "/v1/embeddings", {"model": model, "input": list(texts)}))

    def embed(self, text: str, *, model: str) -> int:
        """Return the length of the vector that `/v1/embeddings` gives for `text`."""
        vectors = read_vectors(self._json("POST", "/v1/embeddings", {"model": model, "input": text}))
        if not vectors:
            raise ProtocolError("the answer holds no embedding vector")
        return len(vectors[0])

    def rerank(self, query: str, texts: Sequence[str], *, model: str) -> tuple[float, ...]:
        """Return the score that `/v1/rerank` gives each text against the query, in the order of the texts."""
        body = {"model": model, "query": query, "documents": list(texts)}
        with self._exchange("POST", RERANK, body, key=self._key) as (response, chunks):
            refuse_failure(response, chunks)
            return read_scores(b"".join(chunks), len(texts))

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object at a path."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Return the JSON object that a body gets at a path."""
        return self._json("POST", path, body)

    def text(self, path: str) -> str:
        """Return the text at a path."""
        with self._exchange("GET", path, key=self._key) as (response, chunks):
            refuse_failure(response, chunks)
            return b"".join(chunks).decode("utf-8", "replace")

    def status_of_raw(self, path: str, body: bytes) -> int:
        """Return the HTTP status that these bytes, called JSON, get with the key."""
        with self._exchange("POST", path, body, key=self._key) as (response, _):
            return int(response.status_code)

    def status_with(self, key: str | None, method: str, path: str) -> int:
        """Return the HTTP status of a request with an empty body and another key, or none."""
        with self._exchange(method, path, {} if method == "POST" else None, key=key) as (response, _):
            return int(response.status_code)

    def status_without_key(self, path: str, body: Mapping[str, object]) -> int:
        """Return the HTTP status that a request without any key gets."""
        with self._exchange("POST", path, body, key=None) as (response, _):
            return int(response.status_code)

    def _json(self, method: str, path: str, body: Mapping[str, object] | None) -> dict[str, Any]:
        with self._exchange(method, path, body, key=self._key) as (response, chunks):
            refuse_failure(response, chunks)
            text = b"".join(chunks)
        document = decoded(text)
        if document is None:
            raise ProtocolError(f"{path} did not answer with a JSON object but with {shown(text)}")
        return document

    @contextlib.contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | bytes | None = None,
        *,
        key: str | None,
        timeout_s: float | None = None,
    ) -> Iterator[tuple["requests.Response", Iterator[bytes]]]:
        """One request on a connection of its own; the body is read only as far as the caller reads it."""
        import requests

        total_s = min(timeout_s or self._timeout_s, self.left_s)
        if total_s <= 0:
            raise ProtocolError(f"there was no time left to ask {path}", timed_out=True, waited_s=0)
        deadline = time.monotonic() + total_s
        headers = {"Connection": "close", "Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        headers |= {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
        try:
            with (
                _session(self.base_url) as session,
                session.request(
                    method,
                    self.base_url + path,
                    json=None if isinstance(body, bytes) else body,
                    data=body if isinstance(body, bytes) else None,
                    headers=headers,
                    timeout=(min(CONNECT_TIMEOUT_S, total_s), total_s),
                    stream=True,
                    allow_redirects=False,
                ) as response,
            ):
                yield response, bounded(response, deadline)
        except requests.Timeout as error:
            said = f"{path} did not answer within {total_s:.3g} s"
            raise ProtocolError(said, timed_out=True, waited_s=total_s) from error
        except requests.ConnectionError as error:
            raise ProtocolError(f"no connection to {self.base_url}: {_reason(error)}", refused=True) from error
        except requests.RequestException as error:
            raise ProtocolError(f"{path}: {type(error).__name__}") from error


def checked_url(text: str) -> str:
    """Return the server's address without `/v1` and trailing slashes; raises BadInputError."""
    url = text.rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.query or parts.fragment:
        what = "this" if "@" in text else repr(text)  # before an @ stands a password
        raise BadInputError(f"{what} is not the address of an HTTP server", hint="write it as http://HOST:PORT")
    return url


def checked_key(key: str | None) -> str | None:
    """Return the key when it can stand in a header; raises BadInputError without showing it."""
    if key is None or not key.strip():
        return None
    stripped = key.strip()
    if not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        raise BadInputError("the API key holds characters that a header cannot carry", hint="use letters and digits")
    return stripped


def _session(base_url: str) -> "requests.Session":
    """Make a session that ignores netrc, and proxies for this machine, but honours them for others."""
    import requests
    import requests.utils

    session = requests.Session()
    session.trust_env = False
    if urlsplit(base_url).hostname not in _LOOPBACK:
        session.proxies.update(requests.utils.get_environ_proxies(base_url))
    if base_url.startswith("https://"):
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True
    return session


def _reason(error: Exception) -> str:
    """The operating system's word, without the object dump that urllib3 adds."""
    text = str(error)
    if (tls := re.search(r"\[SSL[^\]]*\] ([\w ,:'.-]+)", text)) is not None:
        return f"TLS: {tls[1].strip()}; an authority of your own is named by SSL_CERT_FILE"
    for known in ("Connection refused", "Connection reset", "Name or service not known", "No route to host"):
        if known in text:
            return known.lower()
    return "the connection was closed" if "closed" in text or "aborted" in text else type(error).__name__
