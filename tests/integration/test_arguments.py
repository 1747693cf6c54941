"""The planned commands of vLLM and SGLang, on every kind of host, before the engines' own argument parsers.

The parsers are those of the test bed's images (vLLM 0.32.0, SGLang 0.5.23), the plans are for the profiles' own
versions (vLLM 0.33.0, SGLang 0.5.21). A flag that the profile says the parser's version does not have is left out
here, and a flag that has gone shows as an error.
"""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deployer import catalog
from deployer.decide.version import older

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
LAUNCHES = HERE.parent / "golden" / "launches"
MADE_UP = "--no-such-flag-of-ours"
NUMBERS = {
    "vllm": {
        "--max-model-len": "max_model_len",
        "--max-num-seqs": "max_num_seqs",
        "--gpu-memory-utilization": "gpu_memory_utilization",
        "--tensor-parallel-size": "tensor_parallel_size",
        "--port": "port",
    },
    "sglang": {
        "--context-length": "context_length",
        "--max-running-requests": "max_running_requests",
        "--mem-fraction-static": "mem_fraction_static",
        "--tp-size": "tp_size",
        "--port": "port",
    },
}


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def parsed(engine: str, request: pytest.FixtureRequest, docker_engine: "docker.DockerClient") -> dict[str, Any]:
    assert docker_engine.ping()
    image = request.getfixturevalue(f"{engine}_image")
    asked = {name: known(engine, words, image.rpartition(":")[2]) for name, words in commands(engine).items()}
    asked["made up"] = [*next(iter(asked.values())), MADE_UP, "1"]
    script = f"{HERE / 'engines/parse_arguments.py'}:/parse_arguments.py:ro"
    words = ["docker", "run", "--rm", "--interactive", "--network", "none", "--volume", script]
    argv = [*words, "--entrypoint", "python3", image, "/parse_arguments.py", engine]
    made = subprocess.run(argv, input=json.dumps(asked), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    document: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return document


def commands(engine: str) -> dict[str, list[str]]:
    """The command line of every golden of an engine."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted(LAUNCHES.glob(f"{engine}-*.json"))}
    return {name: [*golden["entrypoint"], *golden["command"]] for name, golden in found.items()}


def known(engine: str, words: list[str], version: str) -> list[str]:
    """The command without the flags that this version does not have yet, by the profile."""
    later = {flag.flag for flag in catalog.load_engine(engine).flags if flag.since and older(version, flag.since)}
    left: list[str] = []
    skipping = False
    for word in words:
        skipping = word in later or (skipping and not word.startswith("-"))
        if not skipping:
            left.append(word)
    return left


def test_every_planned_command_is_taken(engine: str, parsed: dict[str, Any]) -> None:
    assert len(commands(engine)) >= 3
    refused = {name: parsed[name]["error"] for name in commands(engine) if parsed[name]["error"] is not None}
    assert refused == {}


def test_the_parser_reads_what_was_planned(engine: str, parsed: dict[str, Any]) -> None:
    for name, words in commands(engine).items():
        values = parsed[name]["values"]
        said = {flag: words[words.index(flag) + 1] for flag in NUMBERS[engine] if flag in words}
        assert {"--port"} < set(said), name
        assert {flag: float(values[NUMBERS[engine][flag]]) for flag in said} == {
            flag: float(value) for flag, value in said.items()
        }
        served = values["served_model_name"]
        assert served in ("demo", ["demo"])
        assert "/models" in (values.get("model_tag"), values.get("model_path"))


def test_the_key_is_read_from_its_file_by_sglang(engine: str, parsed: dict[str, Any]) -> None:
    keys = {parsed[name]["values"].get("api_key") for name in commands(engine)}
    assert keys == ({"from-the-file"} if engine == "sglang" else {None})


def test_a_flag_that_does_not_exist_is_refused(parsed: dict[str, Any]) -> None:
    assert MADE_UP in parsed["made up"]["error"]
