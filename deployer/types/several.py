"""Several deployments of one host, decided together."""

from deployer.types._value import FORMAT_VERSION, Value
from deployer.types.plan import Plan
from deployer.types.record import Outcome, Row


class DeviceShare(Value, frozen=True, kw_only=True):
    """One device (`GPU-…` or `host`) and the MiB that each deployment takes of it, its margin included.

    `available_mib` is what is free for all of them together, None where that is unknown.
    """

    device: str
    name: str | None = None
    available_mib: int | None
    taken_mib: int
    by: dict[str, int]

    @property
    def left_mib(self) -> int | None:
        """What nobody takes."""
        return None if self.available_mib is None else self.available_mib - self.taken_mib


class GatewayRoute(Value, frozen=True, kw_only=True):
    """One model of a gateway: the container that answers for it, its port there, and the Compose network it is on."""

    model: str
    host: str
    port: int
    network: str


class GatewayPlan(Value, frozen=True, kw_only=True):
    """Where all deployments of a file answer together, each by its name as the model.

    `key_file` holds the key that it asks for, `backend_keys` a line `MODEL KEY` for each deployment's own. `image` is a
    name, `image_id` what it is on this machine. `max_body_bytes`: a longer request is refused with 413. `file`: the
    deployer.yaml that asks for it.
    """

    name: str
    base_url: str
    address: str
    port: int
    models: tuple[str, ...]
    key_file: str
    backend_keys: str
    container_user: str
    image: str
    image_id: str | None = None
    routes: tuple[GatewayRoute, ...] = ()
    max_body_bytes: int = 1_000_000
    file: str | None = None


class GatewayState(Value, frozen=True, kw_only=True):
    """What of a gateway runs, and whether it answers for its models; `absent` where it was never brought up.

    `down`: those of its models whose server does not answer. `damaged`: its record cannot be read. `file`: the
    deployer.yaml that asks for it.
    """

    name: str = "gateway"
    status: str
    answers: bool = False
    base_url: str | None = None
    models: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    key_file: str | None = None
    file: str | None = None


class Overview(Value, frozen=True, kw_only=True):
    """The document of `status --json`: every deployment that was asked about, and the gateway where there is one."""

    format_version: int = FORMAT_VERSION
    deployments: tuple[Row, ...]
    gateway: GatewayState | None = None


class SeveralPlans(Value, frozen=True, kw_only=True):
    """The document of `plan -f --json`; deployments in the file's order."""

    format_version: int = FORMAT_VERSION
    deployments: tuple[Plan, ...]
    devices: tuple[DeviceShare, ...]
    gateway: GatewayPlan | None = None
    warnings: tuple[str, ...] = ()


class SeveralOutcomes(Value, frozen=True, kw_only=True):
    """The document of `up -f --json`, in the order in which they were brought up."""

    format_version: int = FORMAT_VERSION
    deployments: tuple[Outcome, ...]
    gateway: GatewayPlan | None = None
