"""The decision: hardware filters first, then operations choose. Pure: no I/O, no clock, no random numbers."""

from deployer.decide.hashing import plan_hash
from deployer.decide.host import complete
from deployer.decide.plan import make_plan
from deployer.decide.report import report_engines
from deployer.decide.sharing import describe_taken, device_shares, host_after, portion, taken

__all__ = [
    "complete",
    "describe_taken",
    "device_shares",
    "host_after",
    "make_plan",
    "plan_hash",
    "portion",
    "report_engines",
    "taken",
]
