"""A reranker is served by real engines: up, gate, check, connect, adopt, down."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.integration.rerankers import write_gguf, write_safetensors
from tests.integration.served import Served, serving

if TYPE_CHECKING:
    import docker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

ASKED = ("--context", "512", "--runtime", "compose")
PATIENT = ("--timeout", "600")
PAIRS = {"query": "What is the capital of France?", "documents": ["Paris.", "A cat."]}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that containers may read."""
    made = Path(tempfile.mkdtemp(prefix="deployer-test-model-", dir="/var/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module", params=["llama.cpp", "vllm", "sglang"])
def ranking(request: pytest.FixtureRequest, docker_engine: "docker.DockerClient", folder: Path) -> Iterator[Served]:
    """A tiny reranker, served by one engine after the other."""
    fixture: Callable[[str], Any] = request.getfixturevalue
    name, image = {
        "llama.cpp": ("debian", "llama_image"), "vllm": ("cpu", "vllm_image"), "sglang": ("xeon", "sglang_image")
    }[request.param]  # fmt: skip
    write = write_gguf if request.param == "llama.cpp" else write_safetensors
    model = write(folder / f"{request.param}-reranker{'.gguf' if request.param == 'llama.cpp' else ''}")
    asked = (str(model), "--engine", request.param, "--image", f"{name}={fixture(image)}", *ASKED)
    with serving(docker_engine, "ranking", *asked) as served:
        yield served


def statuses(document: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["status"] for item in document["checks"]}


def test_a_reranker_passes_the_gate_and_ranks(ranking: Served) -> None:
    passed = {check["name"]: check["detail"] for check in ranking.document["health"]["checks"]}
    assert passed["answer"].startswith("3 texts, scores ")
    assert "score" in passed["long prompt"]
    assert passed["key"] == "HTTP 401 without a key"
    url, header = f"{ranking.document['base_url']}/rerank", {"Authorization": f"Bearer {ranking.key}"}
    body = {"model": ranking.document["model"], **PAIRS}
    answer = requests.post(url, json=body, headers=header, timeout=240).json()
    found = answer["results"] if isinstance(answer, dict) else answer
    assert sorted(item["index"] for item in found) == [0, 1]
    assert requests.post(url, json=body, timeout=60).status_code == 401


def test_check_asks_it_for_scores_and_nothing_else(ranking: Served) -> None:
    document = ranking.run("check", ranking.name, *PATIENT)
    found = statuses(document)
    assert (found["rerank"], found["embeddings"], found["chat"]) == ("works", "not supported", "not supported")
    assert (found["key"], found["open paths"], found["malformed request"]) == ("works", "works", "works")
    assert "broken" not in found.values(), document
    assert ranking.run("check", ranking.name, *PATIENT)["checks"][1]["name"] == "rerank"


def test_check_finds_out_by_itself_what_a_url_does(ranking: Served) -> None:
    url, key = ranking.document["base_url"], ranking.document["key_file"]
    found = statuses(ranking.run("check", "--url", url, "--key-file", key, *PATIENT))
    assert (found["rerank"], found["embeddings"], found["chat"]) == ("works", "not supported", "not supported")
    assert "broken" not in found.values()


def test_connect_prints_what_works(ranking: Served) -> None:
    said = ranking.deployer("connect", ranking.name, "--for", "curl").ok().stdout
    done = subprocess.run(["bash", "-c", said], capture_output=True, text=True, timeout=240, check=True)
    answer = json.loads(done.stdout)
    assert len(answer["results"] if isinstance(answer, dict) else answer) == 2


def test_adopt_knows_what_it_is(ranking: Served) -> None:
    url, key = ranking.document["base_url"], ranking.document["key_file"]
    found = ranking.run("adopt", url, "--name", "theirs", "--key-file", key, "--yes")
    assert (found["engine"], found["reranker"], found["embedding"]) == (ranking.asked[2], True, False)
    assert statuses(ranking.run("check", "theirs", *PATIENT))["rerank"] == "works"
    refused = ranking.deployer("bench", "theirs", "--json").exited(2).json()
    assert "ranks texts and does not chat" in refused["error"]["message"]
