"""`status`: every deployment, and the gateway before them with the servers that do not answer behind it."""

from collections.abc import Mapping

from deployer import ledger
from deployer.paths import Home
from deployer.types import Row
from deployer.types.several import GatewayState, Overview
from deployer.workflow import gateway, lifecycle, running
from deployer.workflow.gateway_record import is_gateway


def look(home: Home, name: str | None = None, *, metrics: bool = False) -> Overview:
    """Everything there is, or what has this name; with `metrics` also what each does. Errors as `lifecycle.status`."""
    if name is not None and is_gateway(home, name):
        return Overview(deployments=(), gateway=gateway_state(home, ()))
    rows = lifecycle.status(home, name, metrics=metrics)
    return Overview(deployments=rows, gateway=gateway_state(home, rows) if name is None else None)


def gateway_state(home: Home, rows: tuple[Row, ...]) -> GatewayState | None:
    """What runs of the gateway; `rows` save asking their servers again."""
    known: Mapping[str, bool] = {row.name: row.answers is True for row in rows}

    def answering(name: str) -> bool:
        return known[name] if name in known else _answers(home, name)

    return gateway.state(home, answering)


def _answers(home: Home, name: str) -> bool:
    plan = ledger.known_plan(home, name)
    return plan is not None and running.answers(home, plan)
