"""One conversation with an image registry: the distribution API v2 with its token flow, bounded in bytes and time.

Protocol: github.com/distribution/distribution docs/content/spec/api.md and spec/auth/token.md.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from deployer import __version__
from deployer.errors import ImageUnavailableError
from deployer.images.credentials import Login, login_for
from deployer.images.engine import EngineSettings
from deployer.images.reference import DOCKER_HUB, ImageReference

if TYPE_CHECKING:
    import requests

CONNECT_S = 3.0
_TOKEN_BYTES = 1024 * 1024
_OK, _UNAUTHORISED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER = 200, 401, 403, 404, 429, 500
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a repository may be asked for."""

    base_url: str
    login_name: str


class Answer(msgspec.Struct, frozen=True):
    """A good answer: header names in lower case, and the whole body."""

    headers: dict[str, str]
    body: bytes


class _Token(msgspec.Struct, frozen=True):
    token: str | None = None
    access_token: str | None = None


def endpoints(reference: ImageReference, settings: EngineSettings) -> tuple[Endpoint, ...]:
    """Where the Engine would ask, in its order: mirrors first for Docker Hub; plain HTTP only where it allows it."""
    if reference.registry == DOCKER_HUB:
        mirrors = [Endpoint(base_url=url, login_name=urlsplit(url).netloc) for url in settings.mirrors]
        return (*mirrors, Endpoint(base_url="https://registry-1.docker.io", login_name=DOCKER_HUB))
    schemes = ("http", "https") if settings.is_insecure(reference.registry) else ("https",)
    return tuple(
        Endpoint(base_url=f"{scheme}://{reference.registry}", login_name=reference.registry) for scheme in schemes
    )


class Conversation:
    """Requests about one repository at one endpoint, with one deadline (monotonic seconds) over all of them."""

    def __init__(self, endpoint: Endpoint, repository: str, settings: EngineSettings, deadline: float) -> None:
        import requests

        self._endpoint = endpoint
        self._repository = repository
        self._settings = settings
        self._deadline = deadline
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"deployer/{__version__}"
        self._authorization: str | tuple[str, str] | None = None

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def ask(self, method: str, path: str, accept: str, max_bytes: int) -> Answer:
        """Send one request below `/v2/<repository>/`, with a token when the registry wants one.

        ImageUnavailableError with `details["cause"]`: unreachable, tls, not-found, unauthorised, rate-limited, broken.
        """
        url = f"{self._endpoint.base_url}/v2/{self._repository}/{path}"
        with self._send(method, url, accept) as response:
            if response.status_code != _UNAUTHORISED or self._authorization is not None:
                return self._answer(response, max_bytes)
            self._log_in(response.headers.get("WWW-Authenticate", ""))
        with self._send(method, url, accept) as response:
            return self._answer(response, max_bytes)

    @contextlib.contextmanager
    def _send(
        self, method: str, url: str, accept: str, params: dict[str, str] | None = None
    ) -> Iterator["requests.Response"]:
        import requests

        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._failure("unreachable", "it did not answer in time")
        try:
            with self._session.request(
                method,
                url,
                headers={"Accept": accept},
                params=params,
                auth=self._authorize,
                proxies=self._proxies(url),
                verify=_verify(self._settings, urlsplit(url).netloc),
                timeout=(min(CONNECT_S, left), left),
                allow_redirects=True,
                stream=True,
            ) as response:
                yield response
        except requests.exceptions.SSLError as error:
            raise self._failure("tls", f"its certificate is not accepted: {_reason(error)}") from error
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            raise self._failure("unreachable", _reason(error)) from error
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            raise self._failure("broken", _reason(error)) from error

    def _authorize(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Requests would otherwise take a login from ~/.netrc."""
        if isinstance(self._authorization, str):
            request.headers["Authorization"] = self._authorization
        elif self._authorization is not None:
            from requests.auth import HTTPBasicAuth

            HTTPBasicAuth(*self._authorization)(request)
        return request

    def _log_in(self, challenge: str) -> None:
        login = login_for(self._endpoint.login_name)
        pair = (login.user, login.password) if login.user and login.password else None
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and pair is not None:
            self._authorization = pair
            return
        if scheme.lower() != "bearer":
            raise self._unauthorised(login)
        self._authorization = f"Bearer {self._token(dict(_CHALLENGE.findall(rest)), pair, login)}"

    def _token(self, challenge: dict[str, str], pair: tuple[str, str] | None, login: Login) -> str:
        realm = urlsplit(challenge.get("realm", ""))
        plain = self._endpoint.base_url.startswith("http://")
        if realm.scheme != "https" and not (realm.scheme == "http" and plain):
            raise self._failure("broken", "it asks for a login at an address that is not https")
        self._authorization = pair
        params = {"scope": f"repository:{self._repository}:pull"}
        if "service" in challenge:
            params["service"] = challenge["service"]
        with self._send("GET", challenge["realm"], "application/json", params) as response:
            if response.status_code in {_UNAUTHORISED, _FORBIDDEN}:
                raise self._unauthorised(login)
            body = self._answer(response, _TOKEN_BYTES).body
        try:
            found = msgspec.json.decode(body, type=_Token)
        except (msgspec.MsgspecError, ValueError) as error:
            raise self._failure("broken", "its login service gave no token") from error
        token = found.token or found.access_token or ""
        if not token.isascii() or not token.isprintable() or not token:
            raise self._failure("broken", "its login service gave no token")
        return token

    def _answer(self, response: "requests.Response", max_bytes: int) -> Answer:
        status = response.status_code
        if status == _OK:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(headers, self._body(response, max_bytes))
        if status in {_UNAUTHORISED, _FORBIDDEN}:
            raise self._unauthorised(login_for(self._endpoint.login_name))
        if status == _NOT_FOUND:
            raise self._failure("not-found", "it has no such image")
        if status == _TOO_MANY:
            raise self._failure("rate-limited", "it allows no more requests for now (HTTP 429)")
        raise self._failure("broken", f"it answered HTTP {status}")

    def _body(self, response: "requests.Response", max_bytes: int) -> bytes:
        found = bytearray()
        for chunk in response.iter_content(64 * 1024):
            found += chunk
            if len(found) > max_bytes:
                raise self._failure("broken", f"its answer is larger than {max_bytes} bytes")
            if time.monotonic() > self._deadline:
                raise self._failure("unreachable", "it did not finish its answer in time")
        return bytes(found)

    def _unauthorised(self, login: Login) -> ImageUnavailableError:
        error = self._failure("unauthorised", "it refuses: no such image, or it needs a login")
        error.details["in_helper"] = login.in_helper
        return error

    def _failure(self, cause: str, reason: str) -> ImageUnavailableError:
        return ImageUnavailableError(
            f"registry {urlsplit(self._endpoint.base_url).netloc}, repository {self._repository}: {reason}",
            hint=HINTS[cause],
            details={"cause": cause},
        )

    def _proxies(self, url: str) -> dict[str, str]:
        """The Engine's own proxies, since it does the pull; else those of the environment, which requests reads."""
        from requests.utils import should_bypass_proxies

        host = urlsplit(url).hostname or ""
        loopback = EngineSettings().is_insecure(host)
        if loopback or (self._settings.proxies and should_bypass_proxies(url, self._settings.no_proxy or None)):
            return {"http": "", "https": ""}
        return dict(self._settings.proxies)


HINTS = {
    "unreachable": "check network, DNS and proxy of this host; or bring an image in a file: `deployer images import`",
    "tls": "put the registry's CA into /etc/docker/certs.d/<registry>/ca.crt, or into this host's CA bundle",
    "not-found": "check the name and the tag; registries delete old tags",
    "unauthorised": "check the name, or log in: `docker login <registry>`",
    "rate-limited": "wait, or log in: `docker login <registry>`",
    "broken": "try again later; `docker pull` by hand shows the registry's own words",
}


def _verify(settings: EngineSettings, host: str) -> str | bool:
    """The CA that Docker would use for this registry, else the user's choice, else the system's bundle."""
    import ssl

    own = settings.certificates / host / "ca.crt"
    with contextlib.suppress(OSError):
        if own.is_file():
            return str(own)
    if os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"):
        return True
    default = ssl.get_default_verify_paths().cafile
    found = next((path for path in (default, *_BUNDLES) if path and Path(path).is_file()), None)
    return found or True


def _reason(error: Exception) -> str:
    """The innermost cause in its own words: requests wraps it in three layers that repeat the address."""
    text = str(error)
    for mark, reason in (
        ("NameResolutionError", "its name cannot be resolved"),
        ("Name or service not known", "its name cannot be resolved"),
        ("Connection refused", "the connection is refused"),
        ("No route to host", "there is no route to it"),
        ("Network is unreachable", "the network is unreachable"),
        ("timed out", "it did not answer in time"),
        ("ProxyError", "the proxy cannot be used"),
        ("Connection reset", "the connection was cut"),
        ("RemoteDisconnected", "the connection was cut"),
        ("WRONG_VERSION_NUMBER", "it does not speak https"),
        ("record layer failure", "it does not speak https"),
        ("CERTIFICATE_VERIFY_FAILED", "it is signed by an unknown authority or for another name"),
    ):
        if mark in text:
            return reason
    return type(error).__name__
