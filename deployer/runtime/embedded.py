"""`python -m deployer.runtime.embedded`: llama-server inside this Python process, through `xllamacpp`.

It takes the llama-server flags that profiles use and no others; an unknown flag is refused with exit status 2. The key
is read from its file and never stands in argv.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_ALL_LAYERS = 999
_SPLIT = ("none", "layer", "row", "tensor")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    arguments = parser().parse_args(argv)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    try:
        keys = read_keys(arguments.api_key_file)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot read the key file: {error}\n")
        return 2
    import xllamacpp

    params = xllamacpp.CommonParams()
    fill(params, arguments, keys)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        sys.stderr.write(f"exiting due to model loading error: {error}\n")
        return 1
    stop.wait()
    del server
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser; names, values and defaults are llama-server's (llama.cpp b11434 tools/server/README.md)."""
    made = argparse.ArgumentParser(prog="deployer.runtime.embedded", allow_abbrev=False, add_help=False)
    made.add_argument("-m", "--model", required=True)
    made.add_argument("-a", "--alias", default="")
    made.add_argument("-mm", "--mmproj", default="")
    made.add_argument("--host", default="127.0.0.1")
    made.add_argument("--port", type=int, required=True)
    made.add_argument("--api-key-file", type=Path)
    made.add_argument("-c", "--ctx-size", type=int, default=0)
    made.add_argument("-np", "--parallel", type=int, default=1)
    made.add_argument("-t", "--threads", type=int, default=-1)
    made.add_argument("-tb", "--threads-batch", type=int)
    made.add_argument("--threads-http", type=int, default=-1)
    made.add_argument("-b", "--batch-size", type=int, default=2048)
    made.add_argument("-ub", "--ubatch-size", type=int, default=512)
    made.add_argument("-ngl", "--n-gpu-layers", "--gpu-layers", type=_layers, default=-1)
    made.add_argument("-dev", "--device", choices=("none",))  # xllamacpp offers no choice of devices
    made.add_argument("-sm", "--split-mode", choices=_SPLIT, default="layer")
    made.add_argument("-mg", "--main-gpu", type=int, default=0)
    made.add_argument("-ts", "--tensor-split", type=_numbers, default=[])
    made.add_argument("-ctk", "--cache-type-k", choices=_CACHE_TYPES, default="f16")
    made.add_argument("-ctv", "--cache-type-v", choices=_CACHE_TYPES, default="f16")
    made.add_argument("-fa", "--flash-attn", choices=("on", "off", "auto"), default="auto")
    made.add_argument("-cram", "--cache-ram", type=int, default=8192)
    made.add_argument("-lv", "--log-verbosity", "--verbosity", type=int, default=3)
    made.add_argument("-fit", "--fit", choices=("on", "off"), default="on")
    _add_switches(made)
    return made


def _add_switches(made: argparse.ArgumentParser) -> None:
    made.add_argument("--metrics", action="store_true")
    made.add_argument("--offline", action="store_true")
    made.add_argument("--embeddings", "--embedding", action="store_true")
    made.add_argument("--reranking", "--rerank", action="store_true")
    made.add_argument("--jinja", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("--slots", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("--ui", "--webui", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("--warmup", action=argparse.BooleanOptionalAction, default=True)
    made.add_argument("-kvu", "--kv-unified", action=argparse.BooleanOptionalAction, default=False)
    made.add_argument("-cb", "--cont-batching", action=argparse.BooleanOptionalAction, default=True)


def fill(params: Any, arguments: argparse.Namespace, keys: list[str]) -> None:
    """Write the parsed flags into `xllamacpp.CommonParams`."""
    params.model.path = arguments.model
    params.mmproj.path = arguments.mmproj
    params.model_alias = {alias for alias in arguments.alias.split(",") if alias}
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.api_keys = keys
    params.n_ctx = arguments.ctx_size
    params.n_parallel = arguments.parallel
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads_batch or arguments.threads
    params.n_threads_http = arguments.threads_http
    params.n_batch = arguments.batch_size
    params.n_ubatch = arguments.ubatch_size
    params.cache_ram_mib = arguments.cache_ram
    params.kv_unified = arguments.kv_unified
    params.cont_batching = arguments.cont_batching
    params.warmup = arguments.warmup
    params.verbosity = arguments.log_verbosity
    _fill_placement(params, arguments)
    _fill_routes(params, arguments)


def _fill_placement(params: Any, arguments: argparse.Namespace) -> None:
    import xllamacpp

    attention = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[arguments.flash_attn]
    params.n_gpu_layers = 0 if arguments.device == "none" else arguments.n_gpu_layers
    params.main_gpu = arguments.main_gpu
    params.split_mode = xllamacpp.llama_split_mode[f"LLAMA_SPLIT_MODE_{arguments.split_mode.upper()}"]
    params.flash_attn_type = xllamacpp.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{attention}"]
    params.cache_type_k = xllamacpp.ggml_type[f"GGML_TYPE_{arguments.cache_type_k.upper()}"]
    params.cache_type_v = xllamacpp.ggml_type[f"GGML_TYPE_{arguments.cache_type_v.upper()}"]
    params.fit_params = arguments.fit == "on"
    if arguments.tensor_split:
        places = len(params.tensor_split)
        params.tensor_split = (arguments.tensor_split + [0.0] * places)[:places]


def _fill_routes(params: Any, arguments: argparse.Namespace) -> None:
    import xllamacpp

    params.endpoint_metrics = arguments.metrics
    params.endpoint_slots = arguments.slots
    params.offline = arguments.offline
    params.embedding = arguments.embeddings or arguments.reranking
    if arguments.reranking:
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.use_jinja = arguments.jinja
    params.ui = arguments.ui


def read_keys(path: Path | None) -> list[str]:
    """Return the keys of a file, one a line; raises ValueError for a file without any."""
    if path is None:
        return []
    keys = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not keys:
        raise ValueError(f"{path} holds no key")
    return keys


def _layers(text: str) -> int:
    return {"auto": -1, "all": _ALL_LAYERS}.get(text) or int(text)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.replace("/", ",").split(",")]


if __name__ == "__main__":
    sys.exit(main())
