"""What is kept of the gateway: `deployments/gateway/gateway.json`, and its files in a folder named by their content.

A new gateway's files never touch those of the one that runs, so that it can be brought back.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from deployer import ledger
from deployer.errors import StateError
from deployer.paths import Home
from deployer.types.several import GatewayPlan

NAME = "gateway"
_FILES, _RECORD = "files", "gateway.json"
_DIGITS = 12


def exists(home: Home) -> bool:
    """True where a gateway was brought up once, also when its record cannot be read."""
    return _path(home).exists()


def is_gateway(home: Home, name: str) -> bool:
    """True where this name is the gateway's."""
    return name == NAME and exists(home)


def known(home: Home) -> GatewayPlan | None:
    """The gateway that served last. Raises StateError when its record cannot be read."""
    path = _path(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=GatewayPlan)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise StateError(
            f"{path} cannot be read: {error}", hint=f"remove it, and bring the gateway up again: {path}"
        ) from error


def write(home: Home, digest: str, files: Mapping[str, str]) -> Path:
    """Write the files of a gateway that is about to start, beside those of the one that serves; returns the folder."""
    folder = folder_of(home, digest)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
    except OSError as error:
        raise StateError(f"{folder} cannot be made: {error.strerror}", hint="deployer probe") from error
    for name, text in files.items():
        ledger.atomic_write(folder / name, text.encode(), mode=0o644)
    return folder


def keep(home: Home, wanted: GatewayPlan, digest: str) -> None:
    """Remember the gateway that serves now; the files of others go."""
    record = msgspec.json.format(msgspec.json.encode(wanted), indent=2) + b"\n"
    ledger.atomic_write(_path(home), record, mode=0o644)
    serving = folder_of(home, digest)
    for folder in serving.parent.iterdir():
        if folder != serving and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)


def folder_of(home: Home, digest: str) -> Path:
    """Where the files of this content are, or will be."""
    return home.deployments / NAME / _FILES / digest[:_DIGITS]


def _path(home: Home) -> Path:
    return home.deployments / NAME / _RECORD
