"""What the real llama-server says of small projectors is what the memory arithmetic computes."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deployer.decide.llama.projector import graph_work, usual_patches
from deployer.models.projector import projector_of
from scripts.memory_truth import load
from tests.hub.server import HubServer, Repo
from tests.integration.served import serving
from tests.unit.models.projector_files import write_projector

if TYPE_CHECKING:
    import docker

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
EMBEDDING = 576
_SAID = re.compile(r"(load_hparams: model size:|reserve_compute_meta: +CPU compute buffer size =) +([\d.]+) MiB")


def said(start: load.Start, model: Path, projector: Path) -> list[float]:
    """MiB of weights and work, as the log prints them once the projector is loaded."""
    words = ["--model", str(model), "--mmproj", str(projector), "--ctx-size", "512", "--parallel", "1", "--offline"]
    found: list[float] = []
    with start([*words, "--verbosity", "4", "--fit", "off"]) as process:
        for line in process.stdout or ():
            found += [float(size) for _, size in _SAID.findall(line)]
            if "listening on" in line:
                break
        process.kill()
    return found


@pytest.mark.parametrize(("kind", "image_size"), [("qwen3vl_merger", 768), ("gemma4v", 768), ("gemma3", 896)])
def test_weights_and_work_are_those_of_the_log(
    llama_image: str, model_file: Path, tmp_path: Path, kind: str, image_size: int
) -> None:
    model = Path(shutil.copy(model_file, tmp_path / "model.gguf"))
    path = tmp_path / "mmproj.gguf"
    write_projector(path, kind, projection=EMBEDDING, width=256, wide=1024, layers=4, image_size=image_size)
    with load.in_container(llama_image, tmp_path) as start:
        weights, work = said(start, model, path)
    found = projector_of(path)
    assert weights == pytest.approx(found.weight_bytes / MIB, abs=0.006)
    assert work == pytest.approx(graph_work(found, usual_patches(found)).device / MIB, abs=0.006)


def test_up_brings_the_projector_of_the_hub_and_serves_it(
    docker_engine: "docker.DockerClient", llama_image: str, model_file: Path, tmp_path: Path
) -> None:
    seeing = write_projector(tmp_path / "p.gguf", "gemma3", projection=EMBEDDING, width=64, wide=256, image_size=224)
    files = {"SmolLM2-Q4_1.gguf": model_file.read_bytes(), "mmproj-SmolLM2-F16.gguf": seeing.read_bytes()}
    words = ("--engine", "llama.cpp", "--image", f"debian={llama_image}", "--context", "2048")
    with HubServer({"org/see": Repo(files)}) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_TOKEN_PATH": "/nonexistent"}
        with serving(docker_engine, "seeing", "hf:org/see", *words, env=env) as served:
            assert "Paris" in served.ask()
            container = served.container(docker_engine)
            command = container.attrs["Config"]["Cmd"]
            assert command[command.index("--mmproj") + 1] == "/models/mmproj-SmolLM2-F16.gguf"
            mounts = {mount["Destination"]: Path(mount["Source"]) for mount in container.attrs["Mounts"]}
            fetched = mounts["/models/mmproj-SmolLM2-F16.gguf"]
            assert fetched.parent == mounts["/models/SmolLM2-Q4_1.gguf"].parent
            assert fetched.read_bytes() == seeing.read_bytes()
            assert "loaded multimodal model, '/models/mmproj-SmolLM2-F16.gguf'" in served.logs()
            hub.seen.clear()
            assert served.run("up", *served.asked, "--yes")["changed"] is False
            assert hub.file_requests() == []
