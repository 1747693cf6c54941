"""Plan to `process.json`: what the process runtime starts, with no shell between."""

import json

import deployer
from deployer.errors import BadInputError
from deployer.render.refuse import refuse_address, refuse_characters
from deployer.types import FORMAT_VERSION, Plan


def render_process(plan: Plan) -> str:
    """JSON with `argv`, `environment`, `health` and where it listens. Raises BadInputError for an unusable plan."""
    if not plan.command:
        raise BadInputError("plan: command: nothing to start", hint="make the plan again: deployer plan MODEL")
    refuse_address(plan)
    refuse_characters(plan)
    document = {
        "format_version": FORMAT_VERSION,
        "name": plan.name,
        "deployer": deployer.__version__,
        "plan_hash": plan.plan_hash,
        "argv": list(plan.command),
        "environment": dict(sorted(plan.environment.items())),
        "address": plan.address,
        "port": plan.port,
        "key_file": plan.key_file,
        "health": {
            "path": plan.health.path,
            "loading_status": plan.health.loading_status,
            "start_period_s": plan.start_period_s,
        },
        "limits": {"memory_mib": plan.limits.memory_mib, "pids": plan.limits.pids, "cpus": plan.limits.cpus},
    }
    if plan.key_variable is not None:
        document["key_variable"] = plan.key_variable
    return json.dumps(document, indent=2) + "\n"
