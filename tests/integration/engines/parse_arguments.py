"""Hand command lines to an engine's own argument parser, inside its image: parsed only, nothing is started.

    python3 parse_arguments.py vllm|sglang <commands.json

Reads `{name: [word, ...]}`; prints `{name: {"values": {...}, "error": null or what the parser said}}`.
"""

import argparse
import contextlib
import importlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEY_FILE = Path("/run/secrets/api_key.yaml")


def vllm() -> Callable[[list[str]], Any]:
    """What `vllm` does before it starts anything (vllm/entrypoints/cli/main.py)."""
    serve = importlib.import_module("vllm.entrypoints.cli.serve")
    parser = importlib.import_module("vllm.utils.argparse_utils").FlexibleArgumentParser()
    (command,) = serve.cmd_init()
    command.subparser_init(parser.add_subparsers(dest="subparser"))

    def parse(words: list[str]) -> Any:
        found = parser.parse_args(words[words.index("vllm") + 1 :])
        command.validate(found)
        return found

    return parse


def sglang() -> Callable[[list[str]], Any]:
    """What `python3 -m sglang.launch_server` does before it starts anything (srt/server_args.py)."""
    parser = argparse.ArgumentParser()
    importlib.import_module("sglang.srt.server_args").ServerArgs.add_cli_args(parser)
    KEY_FILE.parent.mkdir(exist_ok=True)
    KEY_FILE.write_text("api-key: from-the-file\n")
    merger = importlib.import_module("sglang.srt.utils.server_args_config_parser").ConfigArgumentMerger(parser)
    return lambda words: parser.parse_args(
        merger.merge_config_with_args(words[words.index("sglang.launch_server") + 1 :])
    )


def tried(parse: Callable[[list[str]], Any], words: list[str]) -> dict[str, Any]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            found = vars(parse(words))
    except (SystemExit, TypeError, ValueError) as error:
        return {"values": {}, "error": f"{said.getvalue()[-500:]} {error}"}
    plain = {name: value for name, value in found.items() if isinstance(value, str | int | float | bool | list)}
    return {"values": plain, "error": None}


if __name__ == "__main__":
    commands = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        parser_of = {"vllm": vllm, "sglang": sglang}[sys.argv[1]]()
    print("\n" + json.dumps({name: tried(parser_of, words) for name, words in commands.items()}, default=str))
