"""llama.cpp, vLLM and SGLang, each brought up by the command line with the same model and a template with tools."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from tests.integration.served import Served, serving

if TYPE_CHECKING:
    import docker

KEY = "a-key-for-vectors"
MODEL = "smol"
CAPABILITIES = Path(__file__).parent / "capabilities"
TEMPLATE = CAPABILITIES / "tools.jinja"
ASKED = ("--users", "2", "--context", "2048", "--runtime", "compose")
PARSER = ("--engine-arg=--tool-call-parser", "--engine-arg=hermes")


@contextlib.contextmanager
def serving_with_tools(
    engine: str, docker_engine: "docker.DockerClient", fixture: Callable[[str], Any]
) -> Iterator[Served]:
    """Bring one of the three up; `fixture` gives the test bed's image of vLLM or SGLang, and the model."""
    if engine == "llama.cpp":
        template = ("--engine-arg=--chat-template", f"--engine-arg={TEMPLATE.read_text()}")
        with serving(
            docker_engine, "three-llama", "smollm2-135m-instruct", "--engine", engine, *ASKED, *template
        ) as one:
            yield one
        return
    image = {"vllm": ("cpu", "vllm_image"), "sglang": ("xeon", "sglang_image")}[engine]
    switch = ("--engine-arg=--enable-auto-tool-choice",) if engine == "vllm" else ()
    words = ("--engine", engine, "--image", f"{image[0]}={fixture(image[1])}", *ASKED, *PARSER, *switch)
    with (
        model_with_tools(fixture("safetensors_model")) as model,
        serving(docker_engine, f"three-{engine}", str(model), *words) as one,
    ):
        yield one


@contextlib.contextmanager
def model_with_tools(model: Path) -> Iterator[Path]:
    """The same model in a folder of its own, with the other chat template."""
    folder = Path(tempfile.mkdtemp(prefix="deployer-test-model-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        copy = folder / "smollm2-with-tools"
        shutil.copytree(model, copy)
        (copy / "chat_template.jinja").write_text(TEMPLATE.read_text())
        yield copy
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Embedding:
    """A server of one of the three that makes vectors."""

    engine: str
    url: str


@contextlib.contextmanager
def embedding(engine: str, docker_engine: "docker.DockerClient", fixture: Callable[[str], Any]) -> Iterator[Embedding]:
    """Start one by hand: the small model is none for vectors, so that no plan would do it."""
    image, port, mount, words, env = _vectors(engine, fixture)
    container = docker_engine.containers.run(
        image,
        words,
        detach=True,
        ports={f"{port}/tcp": ("127.0.0.1", 0)},
        volumes={str(mount): {"bind": "/model", "mode": "ro"}},
        environment=env,
        shm_size="1g",
        init=True,
    )
    try:
        container.reload()
        published: Any = container.ports[f"{port}/tcp"]
        url = f"http://127.0.0.1:{published[0]['HostPort']}"
        until = time.monotonic() + 600
        while not _ready(url):
            container.reload()
            assert container.status == "running", container.logs(tail=30).decode()
            assert time.monotonic() < until, container.logs(tail=30).decode()
            time.sleep(0.5)
        yield Embedding(engine, url)
    finally:
        container.remove(force=True, v=True)


def _vectors(engine: str, fixture: Callable[[str], Any]) -> tuple[str, int, Path, list[str], dict[str, str]]:
    """Image, port, what is mounted as /model, command and environment."""
    if engine == "llama.cpp":
        words = f"--model /model --alias {MODEL} --host 0.0.0.0 --port 8080 --embeddings --pooling mean --ctx-size 2048"
        return fixture("llama_image"), 8080, fixture("model_file"), [*words.split(), "--api-key", KEY], {}
    model = fixture("safetensors_model")
    if engine == "vllm":
        words = (
            f"/model --served-model-name {MODEL} --max-model-len 1024 --runner pooling --convert embed --enforce-eager"
        )
        env = {"VLLM_API_KEY": KEY, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        return fixture("vllm_image"), 8000, model, words.split(), {**env, "HF_HUB_OFFLINE": "1"}
    words = (
        f"python3 -m sglang.launch_server --model-path /model --served-model-name {MODEL} --device cpu --host 0.0.0.0"
    )
    words += (
        f" --port 30000 --max-total-tokens 4096 --context-length 1024 --is-embedding --sleep-on-idle --api-key {KEY}"
    )
    env = {"SGLANG_USE_CPU_ENGINE": "1", "HF_HUB_OFFLINE": "1"}
    return fixture("sglang_image"), 30000, model, words.split(), env


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=10).status_code == 200
    except requests.RequestException:
        return False
