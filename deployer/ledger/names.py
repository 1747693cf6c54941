"""Which names a deployment may have, and who is asking."""

import os
import pwd
import re
from datetime import UTC, datetime

from deployer.errors import BadInputError

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def checked_name(name: str) -> str:
    """Return the name of a deployment as it is, or raise BadInputError: it becomes a folder and a container name."""
    if _NAME.fullmatch(name):
        return name
    raise BadInputError(
        f"{name!r} cannot name a deployment",
        hint="use 1 to 41 lower-case letters, digits and dashes, starting with a letter or a digit",
    )


def check_file_name(name: str) -> str:
    """Return the name of a file of a bundle as it is, or raise BadInputError when it could leave its folder."""
    if _FILE_NAME.fullmatch(name):
        return name
    raise BadInputError(f"{name!r} cannot name a file of a release", hint="use letters, digits, '.', '_' and '-'")


def user_name(uid: int) -> str:
    """Login name of a uid, or the number itself where the system knows no name for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def whoami() -> str:
    """Who runs this: the person behind sudo where there is one (`alice (as root)`), else the user of the process."""
    user = user_name(os.geteuid())
    person = os.environ.get("SUDO_USER")
    return f"{person} (as {user})" if person and person != user else user


def now() -> str:
    """Return this moment in UTC (`2026-11-20T05:00:00Z`). For people only: order comes from serial numbers."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_alive(pid: int) -> bool:
    """Tell whether a process with this number exists on this machine, whoever owns it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
