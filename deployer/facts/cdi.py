"""CDI specification files: which devices a container engine can inject by name, and for which driver.

Sources: CNCF Container Device Interface `SPEC.md`; NVIDIA Container Toolkit `nvidia-ctk cdi generate`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from deployer.facts.text import read_text
from deployer.types import CdiSpec

SYSTEM_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
NVIDIA_KIND = "nvidia.com/gpu"
_SUFFIXES = {".json", ".yaml", ".yml"}
_LIMIT = 32
_DRIVER = re.compile(r"/lib(?:cuda|nvidia-ml)\.so\.(\d{3}\.\d+(?:\.\d+)?)$")


class File(msgspec.Struct, frozen=True):
    """A file, its text, and whether the driver library that it wants to mount is there."""

    path: str
    text: str


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Mount(msgspec.Struct, frozen=True, rename="camel"):
    host_path: str = ""


class _Edits(msgspec.Struct, frozen=True):
    mounts: tuple[_Mount, ...] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    kind: str
    devices: tuple[_Named, ...] | None = None
    container_edits: _Edits | None = None


def folders(environment: Mapping[str, str], home: Path, *, rootless: bool) -> tuple[Path, ...]:
    """List where an engine looks: the system's folders, and for a rootless one its user's own."""
    if not rootless:
        return SYSTEM_FOLDERS
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "cdi"
    runtime = environment.get("XDG_RUNTIME_DIR")
    return (*SYSTEM_FOLDERS, config, *([Path(runtime) / "cdi"] if runtime else []))


def ask(places: Sequence[Path], root: Path = Path("/")) -> tuple[File, ...]:
    """Read the files, at most 32; a folder that is missing has none."""
    found = []
    for place in dict.fromkeys(places):
        where = root / str(place).lstrip("/")
        try:
            names = sorted(item.name for item in where.iterdir() if item.suffix in _SUFFIXES)
        except OSError:
            continue
        found += [File(str(place / name), read_text(where / name)) for name in names]
    return tuple(found[:_LIMIT])


def read(file: File) -> CdiSpec:
    """Read one file; one that is not a specification keeps its error."""
    try:
        spec = msgspec.convert(_decoded(file), _Spec)
    except (ValueError, msgspec.MsgspecError):
        return CdiSpec(path=file.path, error="This file is not a CDI specification: it is empty, damaged or refused.")
    mounts = spec.container_edits.mounts if spec.container_edits else None
    found = (_DRIVER.search(mount.host_path) for mount in mounts or ())
    driver = next((match[1] for match in found if match), None)
    return CdiSpec(
        path=file.path,
        kind=spec.kind,
        devices=tuple(device.name for device in spec.devices or () if device.name),
        driver=driver,
    )


def compare(spec: CdiSpec, driver: str | None) -> CdiSpec:
    """Mark an NVIDIA specification that was made for another driver than the one that runs."""
    if spec.kind != NVIDIA_KIND or spec.driver is None or driver is None or spec.driver == driver:
        return spec
    error = (
        f"This CDI specification is for driver {spec.driver}, but {driver} runs: containers would not start. Make it "
        f"again with `sudo nvidia-ctk cdi generate --output={spec.path}`."
    )
    return msgspec.structs.replace(spec, error=error)


def names(specs: Sequence[CdiSpec]) -> tuple[str, ...]:
    """Give the devices as an engine is asked for them: `nvidia.com/gpu=0`."""
    return tuple(sorted({f"{spec.kind}={device}" for spec in specs if spec.error is None for device in spec.devices}))


def _decoded(file: File) -> object:
    """Decode JSON, or YAML, whose library is imported only where a file needs it (13 ms)."""
    if file.path.endswith(".json"):
        return msgspec.json.decode(file.text)
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(file.text)
    try:
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
