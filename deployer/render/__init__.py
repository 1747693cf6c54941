"""Plan to files a person can review. Pure: the same plan gives the same bytes, and only our own templates are read."""

from deployer.errors import BadInputError
from deployer.render.compose import render_compose
from deployer.render.dockerfile import render_dockerfile
from deployer.render.front import front_config
from deployer.render.launch import LAUNCH_FILE, launch_text
from deployer.render.monitoring import PASSWORD_FILE, render_monitoring
from deployer.render.process import render_process
from deployer.render.proxy import CONFIG
from deployer.types import Bundle, Plan

__all__ = ["PASSWORD_FILE", "render", "render_monitoring"]


def render(plan: Plan) -> Bundle:
    """Files by name: `compose.yaml` with what it needs beside it, or `process.json`.

    `Dockerfile` comes with an image to build, `launch.py` with an engine that has to be handed its key, `haproxy.cfg`
    with one that is served behind a gateway, and the plan's own files.
    Raises BadInputError when a value of the plan cannot stand in such a file, or the runtime has no renderer.
    """
    match plan.runtime:
        case "process":
            return Bundle(files={"process.json": render_process(plan)})
        case "compose":
            files = {"compose.yaml": render_compose(plan)}
            files |= plan.files
            if plan.gateway is not None:
                files[CONFIG] = front_config(plan, plan.gateway)
            if plan.launcher:
                files[LAUNCH_FILE] = launch_text()
            if plan.image.source == "build":
                files["Dockerfile"] = render_dockerfile(plan)
            return Bundle(files=files)
        case other:
            raise BadInputError(
                f"runtime {other} has no renderer yet", hint="use --runtime compose or --runtime process"
            )
