"""Bytes of the files of one commit, over HTTP ranges."""

from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlsplit

from deployer.models import hub

if TYPE_CHECKING:
    import requests

MAX_REDIRECTS = 5
CONNECT_TIMEOUT_S = 10.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class InterruptedTransferError(Exception):
    """The transfer stopped; asking again may help. Callers turn it into HubError."""


class HubFiles:
    """A connection to the files of one commit of one repository."""

    def __init__(self, repo: str, commit: str) -> None:
        self.repo = repo
        self._commit = commit
        self._session = _session()

    def open(self, name: str, start: int, *, timeout_s: float, end: int | None = None) -> "requests.Response":
        """A streaming answer from byte `start` to `end` (inclusive): status 206, or 200 with the whole file.

        `timeout_s` is the longest wait for the next byte. Raises HubError when the hub refuses,
        InterruptedTransferError when it is overloaded, and what `requests` raises.
        """
        ranged = start > 0 or end is not None
        answer = self._session.get(
            f"{hub.endpoint()}/{self.repo}/resolve/{self._commit}/{quote(name)}",
            headers={"Range": f"bytes={start}-{'' if end is None else end}"} if ranged else {},
            stream=True,
            timeout=(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s),
        )
        partial = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if answer.status_code == HTTPStatus.OK or (answer.status_code == HTTPStatus.PARTIAL_CONTENT and partial):
            return answer
        answer.close()
        if answer.status_code in _TRANSIENT:
            raise InterruptedTransferError(f"{hub.host()} answered with status {answer.status_code}")
        raise hub.refusal(self.repo, self._commit, answer.status_code, answer.headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close()


def ignores_ranges(answer: "requests.Response") -> bool:
    """True when the answer is the whole file although a part was asked for."""
    return answer.status_code == HTTPStatus.OK


def _session() -> "requests.Session":
    """A session that shows the token to the hub only; after a redirect to another host it is not sent."""
    import requests
    from huggingface_hub import get_token

    token, netloc = get_token(), urlsplit(hub.endpoint()).netloc

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if token and urlsplit(str(request.url)).netloc == netloc:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    session = requests.Session()
    session.auth = sign
    session.max_redirects = MAX_REDIRECTS
    session.headers["Accept-Encoding"] = "identity"
    session.headers["User-Agent"] = "deployer"
    return session
