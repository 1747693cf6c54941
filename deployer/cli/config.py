"""`deployer config`."""

import click

from deployer.cli import options, output
from deployer.paths import home
from deployer.types.deployments import ConfigFile, Setting


@click.group()
def command() -> None:
    """What holds for every deployment when nothing else is said."""


@command.command()
@click.option("--origin", is_flag=True, help="Also who said it, and where.")
@options.as_json
def show(*, origin: bool, as_json: bool) -> None:
    """Every word that a flag can say, with its value.

    Flags come first, then DEPLOYER_ and the word in capitals, a deployer.yaml, config.yaml of the user and of the
    system, and what is built in.
    """
    from deployer.workflow import configuration

    settings, files = configuration.every(home()), configuration.files(home())
    if as_json:
        output.document({"format_version": 1, "settings": settings, "files": files})
        return
    header = ("WORD", "VALUE", "ORIGIN", "WHERE") if origin else ("WORD", "VALUE")
    output.table(header, [_cells(setting)[: len(header)] for setting in settings])
    output.lines(["", *(_where(file) for file in files)])


def _where(file: ConfigFile) -> str:
    there = "" if file.present else " (not there: it may say `users: 4`, and every other word above)"
    return f"config.yaml of the {file.origin}: {file.path}{there}"


def _cells(setting: Setting) -> tuple[str, ...]:
    return setting.word, _text(setting.value), setting.origin, setting.where or "-"


def _text(value: object) -> str:
    if value is None or value == ():
        return "-"
    text = " ".join(str(item) for item in value) if isinstance(value, tuple) else str(value)
    return output.printable(text)
