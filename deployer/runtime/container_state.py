"""What Docker says of a container, in our words."""

from collections.abc import Mapping
from typing import Any

from deployer.runtime.lines import escape
from deployer.runtime.naming import LABEL_NAME, LABEL_PLAN
from deployer.types import ServerState, ServerStatus

_STATUS: dict[str, ServerStatus] = {
    "created": "starting",
    "running": "running",
    "restarting": "restarting",
    "paused": "exited",
    "removing": "exited",
    "exited": "exited",
    "dead": "exited",
}


def status_of(word: str) -> ServerStatus:
    """Docker's word for what a container does, as ours."""
    return _STATUS.get(word, "exited")


def has_fallen(listed: Mapping[str, Any]) -> bool:
    """True for a listed container that has ended or is started again."""
    return status_of(listed["State"]) in ("exited", "restarting")


def state_of(inspected: Mapping[str, Any]) -> ServerState:
    """The state of an inspected container of ours."""
    state, labels = inspected["State"], inspected["Config"]["Labels"]
    ended = state["Status"] in {"exited", "dead", "restarting"}
    return ServerState(
        name=labels[LABEL_NAME],
        runtime="compose",
        status=status_of(state["Status"]),
        container_id=inspected["Id"],
        pid=state.get("Pid") or None,
        started_at=state.get("StartedAt"),
        restarts=inspected.get("RestartCount", 0),
        exit_code=state.get("ExitCode") if ended else None,
        oom_killed=state.get("OOMKilled"),
        image_id=inspected.get("Image"),
        health=(state.get("Health") or {}).get("Status"),
        plan_hash=labels.get(LABEL_PLAN),
        detail=escape(state.get("Error") or "") or ("paused" if state["Status"] == "paused" else None),
    )
