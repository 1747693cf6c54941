"""What the model hub says: which commit a revision is, its files with sizes and hashes, and why it refuses.

Requests go to `HF_ENDPOINT`; the token is the one huggingface_hub finds (`HF_TOKEN`, or `hf auth login`).
"""

import os
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from deployer.errors import HubError
from deployer.models.names import printable, unsafe_reason
from deployer.models.store import RepoFile, Repository

TIMEOUT_S = 15.0
_SIGN_IN = "set HF_TOKEN or run: hf auth login"
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # huggingface_hub reads it when it is imported


def endpoint() -> str:
    """Address of the hub, without a slash at the end."""
    address = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if urlsplit(address).scheme not in {"http", "https"}:
        raise HubError(f"HF_ENDPOINT is {printable(address)!r}, not an http address", hint="unset HF_ENDPOINT")
    return address


def refuse_offline(what: str) -> None:
    """Raise HubError when `HF_HUB_OFFLINE` forbids the network."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE:
        raise HubError(
            f"{what} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
            hint="unset HF_HUB_OFFLINE, or copy the files here and give their path",
        )


def describe(repo: str, revision: str | None) -> Repository:
    """Commit and files of a revision. Raises HubError: gated, missing, offline and unreachable are told apart."""
    refuse_offline(f"hf:{repo}")
    from huggingface_hub import HfApi, errors

    try:
        info = HfApi(endpoint=endpoint()).model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        return _repository(repo, info)
    except errors.HfHubHTTPError as error:
        raise refusal(repo, revision, error.response.status_code, error.response.headers) from error
    except errors.OfflineModeIsEnabled as error:
        raise HubError(f"hf:{repo}: huggingface_hub is offline", hint="unset HF_HUB_OFFLINE") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HubError(
            f"{host()} gave an answer that cannot be read: {type(error).__name__}", hint="check HF_ENDPOINT and proxies"
        ) from error
    except _transport_errors() as error:
        raise unreachable(type(error).__name__) from error


def refusal(repo: str, revision: str | None, status: int, headers: Any) -> HubError:
    """The sentence for a refused request. `X-Error-Code` is the hub's own word; without it a 401 means missing too."""
    code = str(headers.get("X-Error-Code", ""))
    if "Invalid credentials" in str(headers.get("X-Error-Message", "")):
        return HubError(f"the hub does not accept the token (status {status})", hint=_SIGN_IN)
    if code == "GatedRepo" or status == HTTPStatus.FORBIDDEN:
        whose = "this token has no access" if signed_in() else "no token is set"
        hint = f"accept its terms at {page(repo)}, then {_SIGN_IN}"
        return HubError(f"hf:{repo} is gated, and {whose} (status {status})", hint=hint)
    if code in {"RevisionNotFound", "EntryNotFound"}:
        missing = f"revision {printable(revision or 'main')!r}" if code[0] == "R" else "such file in that commit"
        return HubError(f"hf:{repo} has no {missing}", hint=f"see {page(repo)}/tree/main")
    if code == "RepoNotFound" or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND}:
        hint = f"check the name; for a private or gated model {_SIGN_IN}"
        return HubError(f"hf:{repo} does not exist, or is private (status {status})", hint=hint)
    hint = f"wait some minutes, or {_SIGN_IN}" if status == HTTPStatus.TOO_MANY_REQUESTS else "try again later"
    return HubError(f"{host()} answered with status {status} ({_phrase(status)})", hint=hint)


def unreachable(cause: str) -> HubError:
    """The error for a hub that does not answer."""
    return HubError(
        f"the model hub {host()} cannot be reached ({cause})",
        hint="check network, proxies and HF_ENDPOINT; without a network give a path to the model's files",
    )


def host() -> str:
    """Name of the hub, for messages."""
    return printable(urlsplit(endpoint()).netloc.rpartition("@")[2])


def page(repo: str) -> str:
    """Address of a repository's page, for messages: without a name and password that the endpoint may hold."""
    return f"{urlsplit(endpoint()).scheme}://{host()}/{repo}"


def signed_in() -> bool:
    """True when huggingface_hub finds a token."""
    from huggingface_hub import get_token

    return get_token() is not None


def _repository(repo: str, info: Any) -> Repository:
    if not re.fullmatch(r"[0-9a-f]{40}", str(info.sha)):
        raise ValueError("no commit")
    tags = [str(tag) for tag in info.tags or ()]
    return Repository(
        repo=repo,
        commit=info.sha,
        files=tuple(_file(repo, entry) for entry in info.siblings or () if not _is_hidden(entry.rfilename)),
        gated=bool(info.gated),
        license=next((printable(tag.partition(":")[2]) for tag in tags if tag.startswith("license:")), None),
    )


def _file(repo: str, entry: Any) -> RepoFile:
    if reason := unsafe_reason(str(entry.rfilename)):
        raise HubError(
            f"hf:{repo} has a file whose name cannot be used ({printable(str(entry.rfilename))!r}: {reason})",
            hint="do not use this repository",
        )
    sha256 = entry.lfs.sha256 if entry.lfs is not None else None
    if sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("no sha256")
    return RepoFile(name=entry.rfilename, size=int(entry.size), sha256=sha256, git_oid=entry.blob_id)


def _is_hidden(name: str) -> bool:
    return name.startswith(".git")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unknown"


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library below huggingface_hub raises when there is no answer (it changed between versions)."""
    from huggingface_hub.errors import HfHubHTTPError

    return (OSError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))
