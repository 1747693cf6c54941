"""Several copies of a model: the names by which they are known, and which devices each has. Pure."""

import msgspec

from deployer.errors import BadInputError
from deployer.types import Plan

LABEL_COPY = "io.deployer.copy"
WAITING = "deployer_requests_waiting"
"""Metric of the gateway: requests that wait there until a copy has a free slot."""

MOST = 64


def copy_service(number: int) -> str:
    """Compose service of a copy, counted from 1."""
    return f"copy-{number}"


def copy_container(plan: Plan, number: int) -> str:
    """Name of its container, by which the gateway finds it."""
    return f"deployer-{plan.name}-{copy_service(number)}-1"


def copy_label(number: int, plan: Plan) -> dict[str, str]:
    """Which of how many: one that is gone is missed by it."""
    return {LABEL_COPY: f"{number}/{plan.copies}"}


def slots_each(plan: Plan) -> int:
    """Conversations at once of each copy."""
    return -(-plan.settings.slots // plan.copies)


def copy_plans(plan: Plan) -> tuple[Plan, ...]:
    """The plan as it is for each copy, with its own part of the devices, in their order.

    Raises BadInputError for copies without a gateway, and for devices that cannot be divided among them.
    """
    if plan.copies == 1:
        return (plan,)
    if plan.gateway is None or not 1 < plan.copies <= MOST or len(plan.devices) % plan.copies:
        raise BadInputError(
            f"plan: copies: {plan.copies} need a gateway and an equal part of {len(plan.devices)} devices",
            hint="make the plan again: deployer plan MODEL --out plan.json",
        )
    size = len(plan.devices) // plan.copies
    parts = (plan.devices[start * size : (start + 1) * size] for start in range(plan.copies))
    return tuple(msgspec.structs.replace(plan, devices=part) for part in parts)
