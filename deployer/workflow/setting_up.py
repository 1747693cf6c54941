"""Engines that have no model when they answer: the profile's commands are run in their container, in order."""

from deployer.errors import StartError
from deployer.paths import Home
from deployer.runtime import RUNTIMES
from deployer.types import Plan
from deployer.workflow.report import Reporter

MAY_FAIL = "-"
"""First word of a step whose failure is no failure, as in a unit file of systemd."""


def set_up(plan: Plan, home: Home, report: Reporter, timeout_s: float) -> None:
    """Run every step; none leaves something behind that a second time would stumble over.

    Raises StartError with the step and its last words.
    """
    runtime = RUNTIMES[plan.runtime](home)
    for step in plan.setup:
        words = step[1:] if step[0] == MAY_FAIL else step
        report.detail(" ".join(words))
        done = runtime.execute(plan.name, words, report.detail, timeout_s)
        if done.returncode != 0 and words == step:
            raise StartError(
                f"{' '.join(words[:2]).rpartition('/')[2]}: {_said(done.stdout)}",
                hint=f"deployer logs {plan.name}",
                details={"step": list(words), "exit_code": done.returncode, "timed_out": done.timed_out},
            )


def _said(output: str) -> str:
    """Its last line that says something."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it failed and said nothing"
