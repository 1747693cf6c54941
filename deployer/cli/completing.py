"""What a shell offers for the arguments: deployments, models, and what a `deployer.yaml` declares."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from deployer.paths import home

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def deployment(ctx: click.Context, param: click.Parameter, incomplete: str) -> list["CompletionItem"]:
    """Names of deployments, or with `-f` those of the file."""
    from deployer.workflow import completing

    file = ctx.params.get("file")
    names = completing.deployments(home()) if file is None else completing.declared(file)
    return _beginning(names, incomplete, ctx.params.get(param.name or "") or ())


def model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list["CompletionItem"]:
    """Names of the catalog, and files; with `-f` the deployments of the file."""
    from click.shell_completion import CompletionItem

    from deployer.workflow import completing

    if ctx.params.get("file") is not None:
        return deployment(ctx, param, incomplete)
    found = _beginning(completing.models(), incomplete, ())
    return found or [CompletionItem(incomplete, type="file")]


def _beginning(names: Iterable[str], incomplete: str, chosen: object) -> list["CompletionItem"]:
    from click.shell_completion import CompletionItem

    taken = chosen if isinstance(chosen, tuple) else ()
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in taken]
