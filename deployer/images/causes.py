"""What the docker command said, put into one cause, one sentence and a way out.

Texts: moby distribution/errors.go and registry/errors.go, containerd remotes/docker, BuildKit solver, docker/cli.
"""

import re

import msgspec


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is stable for scripts; `retry` tells whether the same command may work a moment later."""

    name: str
    pattern: str
    sentence: str
    hint: str
    retry: bool = False


CAUSES = (
    Cause(
        name="no-engine",
        pattern=r"cannot connect to the docker daemon|error during connect|permission denied while trying to connect"
        r"|is the docker daemon running",
        sentence="the Docker Engine cannot be used",
        hint="`docker info` shows why; start it with `sudo systemctl start docker`, or run as root",
    ),
    Cause(
        name="no-buildkit",
        pattern=r"buildx component is missing|buildkit is enabled but|unknown flag: --progress",
        sentence="docker has no BuildKit",
        hint="install the Buildx plugin (package docker-buildx or docker-buildx-plugin)",
    ),
    Cause(
        name="no-space",
        pattern=r"no space left on device|disk quota exceeded",
        sentence="the disk of the Docker Engine is full",
        hint="make room: `docker system df` shows what is there; then run the command again",
    ),
    Cause(
        name="digest-mismatch",
        pattern=r"manifest verification failed|unexpected commit digest|verification failed for digest"
        r"|does not match expected digest|filesystem layer verification failed|content digest .* mismatch",
        sentence="what the registry sent is not what its digest says",
        hint="run it again; if it stays so, do not use this registry until its owner has explained it",
        retry=True,
    ),
    Cause(
        name="wrong-platform",
        pattern=r"no matching manifest for|does not match the specified platform|no match for platform"
        r"|exec format error",
        sentence="the image is not made for this machine's processor",
        hint="choose another image, or build it on this machine",
    ),
    Cause(
        name="unauthorised",
        pattern=r"unauthorized|authentication required|access to the resource is denied|pull access denied"
        r"|403 forbidden|no basic auth credentials",
        sentence="the registry refuses: no such image, or it needs a login",
        hint="check the name, or log in: `docker login <registry>`",
    ),
    Cause(
        name="not-found",
        pattern=r"manifest unknown|manifest for \S+ not found|repository \S+ not found|name unknown|: not found",
        sentence="the registry has no such image",
        hint="check the name and the tag; registries delete old tags",
    ),
    Cause(
        name="rate-limited",
        pattern=r"toomanyrequests|too many requests|rate limit",
        sentence="the registry allows no more requests for now",
        hint="wait, or log in: `docker login <registry>`",
    ),
    Cause(
        name="tls",
        pattern=r"x509:|certificate signed by|server gave http response to https client|tls: ",
        sentence="the registry's certificate is not accepted",
        hint="put its CA into /etc/docker/certs.d/<registry>/ca.crt",
    ),
    Cause(
        name="unreachable",
        pattern=r"no such host|connection refused|network is unreachable|no route to host|i/o timeout"
        r"|temporary failure (?:in name )?resol|tls handshake timeout|client\.timeout|deadline exceeded",
        sentence="it could not be reached",
        hint="check network, DNS and proxy of this host; or bring an image in a file: `deployer images import`",
        retry=True,
    ),
    Cause(
        name="broken",
        pattern=r"unexpected eof|\beof\b|connection reset|broken pipe|received unexpected http status: 5|bad gateway"
        r"|service unavailable|http2: |short read|failed to copy",
        sentence="the transfer broke off",
        hint="run the command again: what came is kept",
        retry=True,
    ),
)
UNKNOWN = Cause(name="unknown", pattern="", sentence="it failed", hint="the last lines of the output say more")

_SECRET_IN_URL = re.compile(r"(://)[^/\s:@]+:[^/\s@]+@")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_TAIL_LINES = 20


def cause_of(text: str) -> Cause:
    """Return the first cause that fits, `UNKNOWN` where none does."""
    lowered = text.lower()
    return next((cause for cause in CAUSES if re.search(cause.pattern, lowered)), UNKNOWN)


def log_tail(text: str, lines: int = _TAIL_LINES) -> list[str]:
    """Return the last lines that hold something, without control characters and without logins inside addresses."""
    clean = (_ESCAPES.sub("", _SECRET_IN_URL.sub(r"\1", line)).rstrip() for line in text.splitlines())
    return [line for line in clean if line][-lines:]
