"""Options that several verbs share, with the same word and meaning everywhere."""

import ipaddress
import shlex
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from deployer.errors import BadInputError, did_you_mean, nearest
from deployer.types import Plan, Request, Workload

F = TypeVar("F", bound=Callable[..., Any])

LOOPBACK = "127.0.0.1"
_REQUESTED = frozenset(Request.__struct_fields__) - {"model"}
_OF_UP = ("timeout", "no_build", "verbose")


class OneOf(click.Choice[str]):
    """One of some words; for another one the nearest is named."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What click says of it, and what was probably meant."""
        meant = did_you_mean(nearest(str(value), self.choices))
        return super().get_invalid_choice_message(value, ctx).removesuffix(".") + (meant or ".")


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
assume_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
dry_run = click.option("-n", "--dry-run", is_flag=True, help="Say what would be done; do nothing.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Show every line of pulls, builds and logs.")
host_file = click.option(
    "--host",
    "host_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Decide for the host of this file (from `probe --json`).",
)
declared = click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="All deployments that this deployer.yaml declares, or those of it that are named.",
)

_SIZE = (
    click.option("--users", type=click.IntRange(1, 4096), default=1, show_default=True, help="People served at once."),
    click.option("--context", type=click.IntRange(256), help="Tokens per conversation (default: up to 8192)."),
    click.option(
        "--workload",
        type=OneOf(["chat", "agents", "batch", "embedding"]),
        help="What it is for (default: chat; embedding for a model that only embeds).",
    ),
    click.option("--engine", help="Only this engine."),
    click.option("--quant", "quantization", help="Only this quantization, e.g. Q4_K_M."),
    click.option("--gpus", help="Only these GPUs (`0,1`), or `none`."),
    click.option("--kv-type", help="Keys and values in exactly this type, e.g. f16, q8_0, fp8."),
    click.option("--slots", type=click.IntRange(1, 4096), help="Exactly this many conversations at once."),
    click.option(
        "--runtime",
        type=OneOf(["compose", "process"]),
        help="How to run it (default: compose where it answers).",
    ),
    click.option("--image", help="Only this image of the engine, e.g. `server-cuda`; `server=REF` takes it from REF."),
)

_REQUEST = (
    *_SIZE,
    click.option("--name", help="Name of the deployment and of the served model."),
    click.option("--address", default=LOOPBACK, show_default=True, help="Address to publish on."),
    click.option("--port", type=click.IntRange(1024, 65535), help="Port to publish (default: 8000 or the next free)."),
    click.option(
        "--allow-vulnerable",
        multiple=True,
        metavar="ID",
        help="Accept this known vulnerability (a CVE or PYSEC id); repeatable.",
    ),
    click.option(
        "--engine-arg", "engine_args", multiple=True, metavar="ARG", help="Passed to the engine as it is; repeatable."
    ),
)


def request_options(function: F) -> F:
    """All flags that make a Request."""
    for option in reversed(_REQUEST):
        function = option(function)
    return function


def size_options(function: F) -> F:
    """The flags on which it depends whether a model fits."""
    for option in reversed(_SIZE):
        function = option(function)
    return function


def make_request(
    model: str,
    *,
    gpus: str | None,
    image: str | None = None,
    engine_args: tuple[str, ...] = (),
    kv_type: str | None = None,
    workload: Workload | None = None,
    **rest: Any,
) -> Request:
    """Request from click's values."""
    profile, said, reference = (image or "").partition("=")
    check_address(rest.get("address", LOOPBACK))
    return Request(
        model=model,
        gpus=parse_gpus(gpus),
        image=profile or None,
        image_reference=reference if said else None,
        engine_args=engine_args,
        kv_type=None if kv_type is None else kv_type.lower(),
        workload=workload or "chat",
        workload_asked=workload is not None,
        **rest,
    )


def check_address(text: str) -> None:
    """Raise BadInputError for what is not an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        hint = "127.0.0.1, or an address of this host"
        raise BadInputError(f"--address {text}: not an IP address", hint=hint) from None


def parse_gpus(text: str | None) -> tuple[int, ...] | None:
    """`0,1` to indexes; `none` to an empty tuple; nothing to None. Raises BadInputError."""
    if text is None:
        return None
    if text == "none":
        return ()
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise BadInputError(f"--gpus {text}: not a list of GPU indexes", hint="--gpus 0,1 or --gpus none") from None


def overrides(ctx: click.Context, flags: dict[str, Any]) -> dict[str, Any]:
    """What the command line itself says of a request, by field; the environment and files are left out."""
    names = {option.name or "" for option in given(ctx)}
    if "image" in names:
        names.add("image_reference")
    if "workload" in names:
        names.add("workload_asked")
    made = make_request("", **flags) if names else None
    return {name: getattr(made, name) for name in sorted(names)}


def one(ctx: click.Context, words: tuple[str, ...], metavar: str) -> str:
    """The one word that a verb without `-f` needs."""
    if not words:
        raise click.UsageError(f"Missing argument '{metavar}'.", ctx)
    if len(words) > 1:
        raise click.UsageError(f"Got unexpected extra argument ({' '.join(words[1:])})", ctx)
    return words[0]


def given(ctx: click.Context) -> list[click.Option]:
    """The request's options that stand on the command line."""
    return _given(ctx, _REQUESTED)


def _given(ctx: click.Context, names: Collection[str]) -> list[click.Option]:
    found = (option for option in ctx.command.params if isinstance(option, click.Option) and option.name in names)
    return [option for option in found if ctx.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE]


def retold(ctx: click.Context, *words: str) -> str:
    """The words and the options that were given, ready to paste after `deployer up`; `--json` and the like left out."""
    told = list(words)
    for option in _given(ctx, {*_REQUESTED, *_OF_UP}):
        value = ctx.params[option.name or ""]
        if option.is_flag:
            told.append(option.opts[0])
        else:
            told += [f"{option.opts[0]}={one}" for one in (value if option.multiple else [value])]
    return shlex.join(told)


def retold_file(ctx: click.Context, file: Path, names: tuple[str, ...]) -> str:
    """The same for `-f FILE [NAME...]`."""
    return retold(ctx, "-f", str(file), *names)


def target(ctx: click.Context, text: str, flags: dict[str, Any]) -> Request | Plan:
    """A saved plan when `text` is a .json file, else a request for a model."""
    if not text.endswith(".json"):
        return make_request(text, **flags)
    from deployer.workflow import review

    if others := given(ctx):
        names = ", ".join(option.opts[0] for option in others)
        raise click.UsageError(f"a saved plan has decided that already: {names}", ctx)
    return review.load(Path(text))
