"""`deployer completion`."""

import click
from click.shell_completion import get_completion_class

from deployer.cli import options


@click.command()
@click.argument("shell", type=options.OneOf(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, *, shell: str) -> None:
    """Print the completion script, e.g. `eval "$(deployer completion bash)"`."""
    kind = get_completion_class(shell)
    root = ctx.find_root()
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(root.command, {}, "deployer", "_DEPLOYER_COMPLETE").source())
