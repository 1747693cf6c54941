"""How an engine that cannot read its key from a file is given it inside the container (templates/launch.py)."""

import functools

from deployer.paths import data_dir
from deployer.types import Plan

LAUNCH_FILE = "launch.py"
LAUNCH_PATH = f"/run/deployer/{LAUNCH_FILE}"
KEY_PATH = "/run/secrets/api_key"
_NO_VARIABLE = "-"


def launched(plan: Plan) -> tuple[str, ...]:
    """The whole command line: the plan's own, behind the launcher where there is one."""
    if not plan.launcher:
        return plan.command
    return (*plan.launcher, LAUNCH_PATH, KEY_PATH, plan.key_variable or _NO_VARIABLE, *plan.command)


@functools.cache
def launch_text() -> str:
    """Text of `launch.py`: ours as it is, nothing of a plan is in it."""
    return (data_dir("templates") / LAUNCH_FILE).read_text(encoding="utf-8")
