"""The verbs. Each lives in a module of its own and is imported only when it is called or listed."""

import importlib

import click

from deployer import __version__
from deployer.errors import did_you_mean, nearest

VERBS = {
    "probe": "what is true of this host",
    "plan": "decide and show; touch nothing",
    "fit": "what fits: quantization, context and devices, and by how much",
    "engines": "every engine and image against this host",
    "render": "write the files for review",
    "up": "fetch, start, verify, record",
    "down": "stop and remove a deployment's server",
    "status": "what runs, and whether it answers",
    "logs": "the engine's own log",
    "history": "releases of a deployment",
    "rollback": "serve with an earlier healthy release",
    "check": "capability checks on a live server",
    "bench": "the five measurements of a live server, and their comparison",
    "adopt": "take a running server that is not ours into status, check and connect",
    "connect": "paste-ready settings for clients",
    "images": "images verified on this host",
    "models": "the catalog, and what was downloaded",
    "config": "what holds for every deployment, and who said it",
    "docs": "what we know of an engine, with sources",
    "completion": "shell completion script",
}


CONFIGURED = ("plan", "fit", "render", "up")
"""Verbs whose flags have defaults from the environment and from `config.yaml`."""


class Verbs(click.Group):
    """A group that imports a verb's module only when it is needed: `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the story, not of the alphabet."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"deployer.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown verb names the nearest one."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            raise click.UsageError(f"no such command {args[0]!r}{did_you_mean(nearest(args[0], VERBS))}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line a verb, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: deployer plan smollm2-135m-instruct",
)
@click.version_option(__version__, prog_name="deployer", message="%(prog)s %(version)s")
@click.pass_context
def group(ctx: click.Context) -> None:
    """Serve an LLM on the hardware you have: plan, then up."""
    verb = ctx.invoked_subcommand
    if verb in CONFIGURED:
        from deployer.paths import home
        from deployer.workflow import configuration

        ctx.default_map = {verb: configuration.flags(configuration.said(home()))}
