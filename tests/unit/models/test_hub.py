"""The hub on 127.0.0.1, asked through the real huggingface_hub: what it says, and how it refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import DeployerError, HubError, ModelFileError
from deployer.models import hub, resolve
from deployer.models.hub_files import HubFiles
from tests.hub.server import COMMIT, Faults, HubServer, Repo
from tests.unit.models.gguf_files import write_llama
from tests.unit.models.test_local import CONFIG, TENSORS, safetensors

TOKEN = "hf_CanaryCanaryCanaryCanaryCanary"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("models")
    whole = write_llama(folder / "whole.gguf", layers=3).read_bytes()
    parts = [write_llama(folder / f"{number}.gguf", layers=3, split=(number, 2)).read_bytes() for number in range(2)]
    return {"whole": whole, "part1": parts[0], "part2": parts[1]}


@pytest.fixture
def server(models: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    repos = {
        "org/one": Repo({"README.md": b"hello", "Tiny-Q8_0.gguf": models["whole"]}),
        "org/many": Repo(
            {
                "Tiny-Q8_0.gguf": models["whole"],
                "Tiny-UD-Q4_K_XL.gguf": models["whole"],
                "big/Tiny-F16-00001-of-00002.gguf": models["part1"],
                "big/Tiny-F16-00002-of-00002.gguf": models["part2"],
                "mmproj-Tiny-F16.gguf": models["whole"],
            }
        ),
        "org/plain": Repo(
            {
                "config.json": json.dumps(CONFIG).encode(),
                "model.safetensors": safetensors(TENSORS),
                "pytorch_model.bin": b"x" * 2000,
                "modeling_x.py": b"x",
            }
        ),
        "org/pickle": Repo({"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"x" * 2000}),
        "org/code": Repo(
            {
                "config.json": json.dumps({**CONFIG, "model_type": "chatglm", "auto_map": {"A": "b"}}).encode(),
                "m.safetensors": b"x",
            }
        ),
        "org/evil": Repo({"../../etc/cron.d/x": b"x", "m.gguf": models["whole"]}),
        "org/gated": Repo({"m.gguf": models["whole"]}, gated=True),
    }
    with HubServer(repos) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN_PATH", "/nonexistent")
        yield running


def test_the_hub_is_asked_for_the_model_and_nothing_else(server: HubServer, tmp_path: Path) -> None:
    program = "from deployer.models import hub; hub.describe('org/one', None)"
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
    assert [seen.path for seen in server.seen] == ["/api/models/org/one"]


def test_a_repository_is_described_with_its_hashes(server: HubServer, models: dict[str, bytes]) -> None:
    found = hub.describe("org/one", None)
    assert (found.commit, found.gated, found.license) == (COMMIT, False, "apache-2.0")
    sizes = {file.name: file.size for file in found.files}
    assert sizes == {"README.md": 5, "Tiny-Q8_0.gguf": len(models["whole"])}
    small, large = found.files
    assert small.sha256 is None
    assert small.git_oid == "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0"  # echo -n hello | git hash-object --stdin
    assert large.sha256 is not None


def test_a_revision_is_followed_to_its_commit(server: HubServer) -> None:
    assert hub.describe("org/one", "main").commit == COMMIT
    assert hub.describe("org/one", COMMIT).commit == COMMIT


@pytest.mark.parametrize(
    ("faults", "revision", "message", "hint"),
    [
        (Faults(), "v9", "has no revision 'v9'", "tree/main"),
        (Faults(status=401), None, "does not exist, or is private", "HF_TOKEN"),
        (Faults(status=401, error_code="RepoNotFound"), None, "does not exist, or is private", "hf auth login"),
        (Faults(status=404, error_code="RepoNotFound"), None, "does not exist, or is private", "check the name"),
        (Faults(status=401, error_code="GatedRepo"), None, "is gated, and no token is set", "accept its terms at"),
        (Faults(status=403, error_code="GatedRepo"), None, "is gated", "accept its terms at"),
        (Faults(status=403), None, "is gated", "HF_TOKEN"),
        (
            Faults(status=401, error_message="Invalid credentials in Authorization header"),
            None,
            "does not accept the token",
            "hf auth login",
        ),
        (Faults(status=429), None, "status 429", "wait"),
        (Faults(status=500), None, "status 500", "later"),
        (Faults(status=418), None, "status 418", "later"),
        (Faults(api_body=b"<html>"), None, "cannot be read", "HF_ENDPOINT"),
        (Faults(api_body=b"[]"), None, "cannot be read", "HF_ENDPOINT"),
        (Faults(api_body=b'{"id": "org/one", "sha": "../x", "siblings": []}'), None, "cannot be read", "HF_ENDPOINT"),
        (Faults(api_body=b'{"id": "org/one", "sha": null, "siblings": []}'), None, "cannot be read", "HF_ENDPOINT"),
    ],
)
def test_each_refusal_has_its_own_sentence(
    server: HubServer, faults: Faults, revision: str | None, message: str, hint: str
) -> None:
    server.state.faults = faults
    with pytest.raises(HubError, match=message) as caught:
        hub.describe("org/one", revision)
    assert hint in caught.value.hint
    assert caught.value.message.isprintable()


def test_a_missing_repository(server: HubServer) -> None:
    with pytest.raises(HubError, match="hf:org/none does not exist, or is private"):
        hub.describe("org/none", None)


def test_a_token_without_access_is_told_apart(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.state.faults = Faults(status=403, error_code="GatedRepo")
    with pytest.raises(HubError, match="this token has no access") as caught:
        hub.describe("org/gated", None)
    assert TOKEN not in repr((caught.value.message, caught.value.hint, caught.value.details))
    assert server.seen[-1].authorization == f"Bearer {TOKEN}"


def test_no_hub_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HubError, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
        hub.describe("org/one", None)
    assert "HF_ENDPOINT" in caught.value.hint


def test_offline_asks_nobody(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        hub.describe("org/one", None)
    assert server.seen == []


def test_an_endpoint_that_is_no_http_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "file:///etc")
    with pytest.raises(HubError, match="not an http address"):
        hub.describe("org/one", None)


def test_a_password_in_the_endpoint_is_not_shown(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url.replace("http://", "http://me:geheim@"))
    server.state.faults = Faults(status=403, error_code="GatedRepo")
    with pytest.raises(HubError) as caught:
        hub.describe("org/one", None)
    assert "geheim" not in caught.value.message + caught.value.hint


def test_unsafe_file_names_of_a_repository_are_refused(server: HubServer) -> None:
    with pytest.raises(HubError, match="a file whose name cannot be used"):
        hub.describe("org/evil", None)


def test_the_token_goes_to_the_hub_and_to_no_other_host(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    server.faults.redirect = True
    with HubFiles("org/one", COMMIT) as files, files.open("README.md", 0, timeout_s=60) as answer:
        assert answer.content == b"hello"
    asked = [(seen.host.partition(":")[0], seen.authorization) for seen in server.file_requests()]
    assert asked == [("127.0.0.1", f"Bearer {TOKEN}"), ("localhost", None)]


def test_one_file_is_resolved_from_its_header_alone(
    server: HubServer, models: dict[str, bytes], tmp_path: Path
) -> None:
    spec = resolve("hf:org/one", (), tmp_path)
    (variant,) = spec.variants
    assert (spec.name, spec.license, spec.source) == ("tiny", "apache-2.0", f"hf:org/one@{COMMIT}")
    assert spec.architecture.layers == 3
    assert (variant.quantization, variant.present, variant.size_bytes) == ("Q8_0", False, len(models["whole"]))
    assert variant.path == str(tmp_path / "hub" / "org--one" / COMMIT / "Tiny-Q8_0.gguf")
    assert variant.weights is not None
    assert all(seen.range is not None for seen in server.file_requests())
    assert not list(tmp_path.rglob("*.gguf"))


def test_only_the_header_of_a_large_model_crosses_the_network(server: HubServer, smollm2: Path, tmp_path: Path) -> None:
    server.state.repos["org/smol"] = Repo({"SmolLM2-135M-Instruct.Q4_1.gguf": smollm2.read_bytes()})
    spec = resolve("hf:org/smol", (), tmp_path)
    assert spec.parameters == 134_515_008
    ranges = [seen.range for seen in server.file_requests()]
    assert ranges == ["bytes=0-2097151"]


def test_a_repository_with_several_models_has_a_variant_for_each(server: HubServer, tmp_path: Path) -> None:
    spec = resolve("hf:org/many", (), tmp_path)
    assert [(variant.quantization, len(variant.files)) for variant in spec.variants] == [
        ("Q8_0", 1),
        ("Q4_K_M", 1),
        ("F16", 2),
    ]
    assert [variant.weights is not None for variant in spec.variants] == [True, False, False]


@pytest.mark.parametrize("file", ["big/Tiny-F16-00002-of-00002.gguf", "f16", "F16"])
def test_file_names_one_set_by_part_or_quantization(server: HubServer, tmp_path: Path, file: str) -> None:
    (variant,) = resolve(f"hf:org/many@{COMMIT}:{file}", (), tmp_path).variants
    assert len(variant.files) == 2
    assert variant.weights is not None
    assert len(variant.weights.layer_bytes) == 3
    assert all(variant.weights.layer_bytes)


def test_a_file_that_is_not_there_lists_what_is(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"no 'Q2_K'; it has: Tiny-Q8_0\.gguf, Tiny-UD-Q4_K_XL\.gguf") as caught:
        resolve("hf:org/many:Q2_K", (), tmp_path)
    assert "big/Tiny-F16-00001-of-00002.gguf" in str(caught.value.details["files"])


def test_a_safetensors_repository(server: HubServer, tmp_path: Path) -> None:
    spec = resolve("hf:org/plain", (), tmp_path)
    (variant,) = spec.variants
    assert (spec.name, variant.format, variant.quantization) == ("plain", "safetensors", "BF16")
    assert variant.files == ("model.safetensors", "config.json")
    assert (spec.parameters, variant.present) == (80 + 64 + 64 + 8 + 80, False)
    assert variant.weights is not None
    assert (variant.weights.input_bytes, variant.weights.layer_bytes) == (160, (128, 128))
    assert variant.path == str(tmp_path / "hub" / "org--plain" / COMMIT)


@pytest.mark.parametrize(
    ("repo", "kind", "message"),
    [("org/pickle", HubError, "neither GGUF files, nor"), ("org/code", ModelFileError, "auto_map")],
)
def test_pickles_and_code_are_refused(
    server: HubServer, tmp_path: Path, repo: str, kind: type[DeployerError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        resolve(f"hf:{repo}", (), tmp_path)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(on_files_only=True, status=403, error_code="GatedRepo"), "is gated"),
        (Faults(on_files_only=True, status=404, error_code="EntryNotFound"), "no such file"),
        (Faults(on_files_only=True, status=503), "cannot be reached"),
        (Faults(cut_after=100), "cannot be reached|cut short"),
    ],
)
def test_a_header_that_cannot_be_read_over_the_network(
    server: HubServer, tmp_path: Path, faults: Faults, message: str
) -> None:
    server.state.faults = faults
    with pytest.raises(DeployerError, match=message):
        resolve("hf:org/one", (), tmp_path)


def test_a_gated_model_is_marked(server: HubServer, tmp_path: Path) -> None:
    assert resolve("hf:org/gated", (), tmp_path).gated


def test_the_server_speaks_what_huggingface_hub_asks(server: HubServer, tmp_path: Path) -> None:
    code = (
        "import sys; from huggingface_hub import HfApi, hf_hub_download; "
        "print(hf_hub_download('org/one', 'Tiny-Q8_0.gguf', local_dir=sys.argv[1])); "
        "print([f.path for f in HfApi().list_repo_tree('org/one')])"
    )
    environment: dict[str, Any] = {
        "HF_ENDPOINT": server.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    argv = [sys.executable, "-c", code, str(tmp_path / "there")]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, timeout=120)
    path, listing = done.stdout.splitlines()
    assert Path(path).read_bytes() == server.state.repos["org/one"].files["Tiny-Q8_0.gguf"]
    assert listing == "['README.md', 'Tiny-Q8_0.gguf']"


def test_parts_of_a_split_model_are_read_each_once_and_add_up(server: HubServer, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    names = [f"Big-F16-{number:05d}-of-00012.gguf" for number in range(1, 13)]
    parts = [write_llama(tmp_path / "made" / name, layers=24, split=(n, 12)) for n, name in enumerate(names)]
    whole = write_llama(tmp_path / "made" / "whole.gguf", layers=24)
    server.state.repos["org/big"] = Repo({path.name: path.read_bytes() for path in parts})
    (variant,) = resolve("hf:org/big", (), tmp_path / "store").variants
    assert variant.weights == resolve(str(whole), (), tmp_path).variants[0].weights
    asked = {seen.path.rpartition("/")[2]: seen.range for seen in server.file_requests()}
    assert len(asked) == len(server.file_requests()) == 12
    server.seen.clear()
    resolve("hf:org/big", (), tmp_path / "store")
    assert server.seen == []
    server.state.repos["org/big"].files[names[5]] = b"GGUF" + b"\xff" * 100
    with pytest.raises(ModelFileError, match="GGUF version"):
        resolve("hf:org/big", (), tmp_path / "other")
