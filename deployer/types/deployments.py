"""What a person writes in `deployer.yaml` and `config.yaml`: the words of the flags."""

from typing import Annotated, Any, Literal

import msgspec

from deployer.types._value import Value, Workload, Written

Users = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Context = Annotated[int, msgspec.Meta(ge=256)]
Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
Words = str | tuple[str, ...]
"""One word, or a list of them, for a flag that can be repeated."""


class Wishes(Written, frozen=True, kw_only=True, rename="kebab"):
    """Words that may stand for every deployment; each means what the flag of the same name means. None: not said."""

    users: Users | None = None
    context: Context | None = None
    workload: Workload | None = None
    engine: str | None = None
    quant: str | None = None
    gpus: int | str | tuple[int, ...] | None = None
    kv_type: str | None = None
    slots: Users | None = None
    runtime: Literal["compose", "process"] | None = None
    image: str | None = None
    address: str | None = None
    allow_vulnerable: Words | None = None
    engine_arg: Words | None = None


class Alone(Wishes, frozen=True, kw_only=True):
    """Words that may stand for one deployment only, beside those above."""

    name: str | None = None
    port: Port | None = None


class Declared(Wishes, frozen=True, kw_only=True):
    """One deployment: its model, its port, and the words above."""

    model: str
    port: Port | None = None


class GatewayWish(Written, frozen=True, kw_only=True):
    """One base URL for all deployments of a file, by model name."""

    port: Port | None = None
    address: str | None = None
    image: str | None = None


class GatewayProfile(Written, frozen=True, kw_only=True):
    """The proxy before engines without a key, and before several servers: its image, and the version it is written for.

    `digest`: what the registry calls the image by content; None: nobody has read it here.
    """

    image: str
    version: str
    source: str
    digest: str | None = None


class Sheet(Written, frozen=True, kw_only=True):
    """The top of a `deployer.yaml`, before each deployment is read on its own."""

    deployments: dict[str, Any]
    defaults: Any = None
    gateway: Any = None


class DeploymentsFile(msgspec.Struct, frozen=True, kw_only=True):
    """A read `deployer.yaml`: deployments by name, in the file's order. `lines`: where each begins (from 1).

    `text`: as it was read, to find the line of a value that turns out to be wrong.
    """

    label: str
    deployments: dict[str, Declared]
    defaults: Wishes = Wishes()
    gateway: GatewayWish | None = None
    lines: dict[str, int] = {}
    text: str = ""


class ConfigFile(Value, frozen=True, kw_only=True):
    """A `config.yaml` that is looked for: whose it is, where, and whether it is there."""

    origin: Literal["user", "system"]
    path: str
    present: bool


class Setting(Value, frozen=True, kw_only=True):
    """One word's value and who said it: `environment`, `user`, `system` or `built-in`, and `where` exactly."""

    word: str
    value: Any = None
    origin: Literal["environment", "user", "system", "built-in"] = "built-in"
    where: str | None = None
