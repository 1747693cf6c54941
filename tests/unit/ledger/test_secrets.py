import os
import stat
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import BadInputError, PreconditionError
from deployer.ledger import secrets
from deployer.paths import Home


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_and_reused(home: Home) -> None:
    path = secrets.ensure_key(home, "chat")
    key = secrets.read_key(home, "chat")
    assert len(key) == 43
    assert path == home.secrets / "chat" / "api_key"
    assert secrets.ensure_key(home, "chat") == path
    assert secrets.read_key(home, "chat") == key
    assert secrets.read_key(home, "chat") != _key_of(home, "other")


def _key_of(home: Home, name: str) -> str:
    secrets.ensure_key(home, name)
    return secrets.read_key(home, name)


def test_rotation_gives_another_key(home: Home) -> None:
    old = _key_of(home, "chat")
    secrets.rotate_key(home, "chat")
    assert secrets.read_key(home, "chat") != old


CODE = """
import sys
from pathlib import Path
from deployer.ledger import secrets
from deployer.paths import Home
root = Path(sys.argv[1])
secrets.ensure_key(Home(config=root / "config", state=root / "state", lock=root / "lock"), "chat")
"""


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("unprivileged", [True, False])
def test_owner_and_modes_under_any_umask(open_folder: Path, script: Any, umask: int, unprivileged: bool) -> None:
    open_folder.chmod(0o777)
    _, err = script(CODE, open_folder, umask=umask, unprivileged=unprivileged).communicate(timeout=120)
    path = open_folder / "state" / "secrets" / "chat" / "api_key"
    as_root = os.geteuid() == 0 and not unprivileged
    assert path.exists(), err
    assert _mode(path) == (0o400 if as_root else 0o600)
    assert _mode(path.parent) == _mode(path.parent.parent) == 0o711
    if as_root:
        assert (path.stat().st_uid, path.stat().st_gid) == (65532, 65532)


def test_a_loosened_key_is_protected_again(home: Home) -> None:
    path = secrets.ensure_key(home, "chat")
    key = secrets.read_key(home, "chat")
    path.chmod(0o644)
    secrets.ensure_key(home, "chat")
    assert _mode(path) & 0o077 == 0
    assert secrets.read_key(home, "chat") == key


@pytest.mark.parametrize("damage", [b"", b"\n", b"two words", b"\x00" * 40, b"x" * 5000])
def test_a_damaged_key_is_kept_aside_and_replaced(home: Home, damage: bytes) -> None:
    path = secrets.ensure_key(home, "chat")
    path.chmod(0o600)
    path.write_bytes(damage)
    secrets.ensure_key(home, "chat")
    assert len(secrets.read_key(home, "chat")) == 43
    assert path.with_name("api_key.corrupt-1").read_bytes() == damage


def test_a_key_of_the_users_own_is_kept(home: Home) -> None:
    path = secrets.key_path(home, "chat")
    path.parent.mkdir(parents=True)
    path.write_text("my-own-key\n")
    secrets.ensure_key(home, "chat")
    assert secrets.read_key(home, "chat") == "my-own-key"


def test_no_key_and_no_such_name(home: Home) -> None:
    with pytest.raises(PreconditionError, match="has no API key"):
        secrets.read_key(home, "chat")
    with pytest.raises(BadInputError):
        secrets.ensure_key(home, "../etc")


def test_the_file_of_settings_follows_the_key(home: Home) -> None:
    import yaml

    with pytest.raises(PreconditionError):
        secrets.ensure_config(home, "chat")
    path = secrets.ensure_key(home, "chat")
    config = secrets.ensure_config(home, "chat")
    assert config == path.with_name("api_key.yaml")
    assert yaml.safe_load(config.read_text()) == {"api-key": secrets.read_key(home, "chat")}
    assert _mode(config) == _mode(path)
    assert (config.stat().st_uid, config.stat().st_gid) == (path.stat().st_uid, path.stat().st_gid)
    before = config.stat().st_ino
    assert secrets.ensure_config(home, "chat").stat().st_ino == before
    secrets.rotate_key(home, "chat")
    assert yaml.safe_load(secrets.ensure_config(home, "chat").read_text()) == {
        "api-key": secrets.read_key(home, "chat")
    }
