"""What has worked: verified images, releases and the evidence."""

from typing import Literal

from deployer.types._value import FORMAT_VERSION, Value


class Check(Value, frozen=True, kw_only=True):
    """One health check: its name, whether it passed, and the evidence in words and numbers."""

    name: str
    passed: bool
    detail: str
    seconds: float


class HealthReport(Value, frozen=True, kw_only=True):
    """What the gate saw."""

    ready_after_s: float
    checks: tuple[Check, ...]
    tokens_per_s: float | None = None

    @property
    def passed(self) -> bool:
        """True when every check passed."""
        return all(check.passed for check in self.checks)


class VerifiedImage(Value, frozen=True, kw_only=True):
    """An image from which a server was started on this host and passed every health check.

    `recipe` is what it was made from: the pulled `reference`, or `dockerfile:<sha256>` of a build. `image_id` is
    Docker's content address; `digest` is the registry's, where it came from one.
    """

    format_version: int = FORMAT_VERSION
    engine: str
    engine_version: str
    profile: str
    recipe: str
    reference: str | None
    image_id: str
    digest: str | None
    fingerprint: str
    model: str
    quantization: str
    deployment: str
    release: int
    verified_at: str
    evidence: HealthReport


ReleaseStatus = Literal["pending", "healthy", "failed", "superseded", "stopped"]


class Release(Value, frozen=True, kw_only=True):
    """One numbered attempt to serve. Its folder is immutable but for this record."""

    format_version: int = FORMAT_VERSION
    name: str
    number: int
    status: ReleaseStatus
    created_at: str
    plan_hash: str
    image: str | None = None
    engine: str | None = None
    model: str | None = None
    user: str | None = None
    message: str | None = None
    health: HealthReport | None = None


class OutcomeImage(Value, frozen=True, kw_only=True):
    """The image that serves; `source` says how it was had this time."""

    profile: str
    reference: str | None
    digest: str | None
    id: str | None
    source: str


class Outcome(Value, frozen=True, kw_only=True):
    """What `up` did: the document of `up --json`. `unavailable` says why other images could not be had."""

    format_version: int = FORMAT_VERSION
    name: str
    changed: bool
    release: int
    runtime: str
    base_url: str
    model: str
    key_file: str
    engine: str
    image: OutcomeImage
    unavailable: dict[str, str]
    health: HealthReport | None
    warnings: tuple[str, ...]


class Row(Value, frozen=True, kw_only=True):
    """One deployment in `status`: a word for its state, and what its plan says; `damaged` where that cannot be read.

    `answers` is None when it is not running.
    """

    name: str
    status: str
    release: int
    answers: bool | None = None
    engine: str | None = None
    model: str | None = None
    quantization: str | None = None
    image: str | None = None
    runtime: str | None = None
    base_url: str | None = None
    started_at: str | None = None
    restarts: int = 0


Presence = Literal["present", "missing", "moved", "unknown"]


class ImageAudit(Value, frozen=True, kw_only=True):
    """One verified image, looked at again. `moved`: present here, and the registry's tag names another image now."""

    image: VerifiedImage
    presence: Presence
    this_host: bool
    detail: str
