"""Where packaged knowledge and this machine's state live."""

import os
import stat
from pathlib import Path

import msgspec

_PACKAGE = Path(__file__).parent


def data_dir(name: str) -> Path:
    """Folder of packaged data (`templates` or `profiles`): inside a wheel, else beside the package in a checkout."""
    packaged = _PACKAGE / "data" / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


def is_special(path: Path) -> bool:
    """True for a device, a pipe or a socket, links followed: reading one may never end. False for what is not there."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


class Home(msgspec.Struct, frozen=True):
    """The folders of one installation.

    `DEPLOYER_HOME` moves all of it; root uses the system's folders; a user has the XDG folders.
    """

    config: Path
    state: Path
    lock: Path

    @property
    def deployments(self) -> Path:
        """One folder a deployment, with its numbered releases."""
        return self.state / "deployments"

    @property
    def ledger(self) -> Path:
        """Records of verified images."""
        return self.state / "ledger"

    @property
    def models(self) -> Path:
        """Downloaded models."""
        return self.state / "models"

    @property
    def secrets(self) -> Path:
        """API keys, one folder a deployment."""
        return self.state / "secrets"


def home() -> Home:
    """Choose the folders for this process; nothing is created."""
    moved = os.environ.get("DEPLOYER_HOME")
    if moved:
        root = Path(moved).expanduser().absolute()
        return Home(config=root / "config", state=root, lock=root / "lock")
    if os.geteuid() == 0:
        return Home(config=Path("/etc/deployer"), state=Path("/var/lib/deployer"), lock=Path("/run/lock/deployer"))
    import platformdirs

    dirs = platformdirs.PlatformDirs("deployer", appauthor=False)
    run = os.environ.get("XDG_RUNTIME_DIR")
    lock = Path(run) / "deployer" if run else dirs.user_state_path / "lock"
    return Home(config=dirs.user_config_path, state=dirs.user_state_path, lock=lock)
