"""What can serve a model without a container engine."""

import ctypes
import shutil
from importlib.util import find_spec
from pathlib import Path

_PROGRAMS = ("llama-server", "vllm", "sglang")
_PACKAGE = "xllamacpp"
_OPENMP = "libgomp.so.1"


def probe() -> dict[str, str]:
    """Map servers on PATH to their path and `xllamacpp` to its installed version, where they can run. None is started.

    The wheel of xllamacpp needs the system's OpenMP library, which a bare Debian has not.
    """
    found = {}
    for program in _PROGRAMS:
        path = shutil.which(program)
        if path is not None:
            found[program] = path
    version = _package_version(_PACKAGE)
    if version is not None and _loads(_OPENMP):
        found[_PACKAGE] = version
    return found


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _package_version(name: str) -> str | None:
    """Give the version of an installed package without importing it.

    An installed package has a folder `<name>-<version>.dist-info` beside it (Python's "Recording installed projects");
    `importlib.metadata` costs 31 ms to import, so it is asked only where that folder is elsewhere.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return None
    beside = Path(spec.origin).parent.parent.glob(f"{name}-*.dist-info")
    found = next((folder.name.removesuffix(".dist-info").partition("-")[2] for folder in beside), None)
    return found or _recorded_version(name)


def _recorded_version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
