"""Plan to files a person can review. Pure: the same plan gives the same bytes, and only our own templates are read."""

from deployer.errors import BadInputError
from deployer.render.compose import render_compose
from deployer.render.dockerfile import render_dockerfile
from deployer.render.process import render_process
from deployer.types import Bundle, Plan

__all__ = ["render"]


def render(plan: Plan) -> Bundle:
    """Files by name: `compose.yaml` (and `Dockerfile` for an image to build), or `process.json`.

    Raises BadInputError when a value of the plan cannot stand in such a file, or the runtime has no renderer.
    """
    match plan.runtime:
        case "process":
            return Bundle(files={"process.json": render_process(plan)})
        case "compose":
            files = {"compose.yaml": render_compose(plan)}
            if plan.image.source == "build":
                files["Dockerfile"] = render_dockerfile(plan)
            return Bundle(files=files)
        case other:
            raise BadInputError(
                f"runtime {other} has no renderer yet", hint="use --runtime compose or --runtime process"
            )
