"""What was asked of the hub once is not asked again, and nothing breaks where it cannot be kept."""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deployer.errors import HubError
from deployer.models import kept, resolve
from deployer.models.store import RepoStore
from tests.hub.server import COMMIT, HubServer, Repo
from tests.unit.models.gguf_files import write_llama


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    (tmp_path / "source").mkdir()
    data = write_llama(tmp_path / "source" / "m.gguf", layers=3).read_bytes()
    with HubServer({"org/one": Repo({"Tiny-Q8_0.gguf": data})}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_a_second_plan_asks_nothing(server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve("hf:org/one", (), store)
    server.seen.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("hf:org/one", (), store) == first
    assert server.seen == []


def test_a_branch_is_looked_up_again_after_an_hour_and_its_header_kept(
    server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve("hf:org/one", (), store)
    resolve(f"hf:org/one@{COMMIT}", (), store)
    server.seen.clear()
    later = time.time() + kept.LISTING_AGE_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    resolve(f"hf:org/one@{COMMIT}", (), store)
    assert server.seen == []
    resolve("hf:org/one", (), store)
    assert [seen.path for seen in server.seen] == ["/api/models/org/one"]


def test_a_clock_that_went_back_asks_again(server: HubServer, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve("hf:org/one", (), store)
    server.seen.clear()
    monkeypatch.setattr(time, "time", lambda: 1.0)
    resolve("hf:org/one", (), store)
    assert len(server.seen) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xc1", b"\x81\x00\xc4\x02ab", b"\0" * 4096])
def test_what_was_kept_and_is_damaged_is_asked_again(server: HubServer, store: Path, content: bytes) -> None:
    first = resolve("hf:org/one", (), store)
    files = [path for path in (store / "hub" / "org--one" / "asked").rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        path.write_bytes(content)
    server.seen.clear()
    assert resolve("hf:org/one", (), store) == first
    assert len(server.seen) == 2


def test_a_store_that_cannot_be_written_keeps_nothing(server: HubServer, tmp_path: Path) -> None:
    store = tmp_path / "a-file"
    store.write_text("")
    assert resolve("hf:org/one", (), store).architecture.layers == 3
    assert store.read_text() == ""


def test_a_refused_header_is_not_kept(server: HubServer, store: Path) -> None:
    server.state.faults.on_files_only, server.state.faults.status = True, 503
    with pytest.raises(HubError):
        resolve("hf:org/one", (), store)
    assert not list(store.rglob("*.msgpack"))


def test_only_as_much_is_kept_as_a_header_needs(tmp_path: Path) -> None:
    class Zeros:
        label, size = "zeros", 1 << 30
        reads = 0

        def read_at(self, offset: int, length: int) -> bytes:
            self.reads += 1
            return bytes(length)

    zeros = Zeros()
    place = RepoStore.of(tmp_path, "org/one")
    source = kept.KeptSource(zeros, place, COMMIT, "m.gguf")
    assert source.read_at((1 << 30) - 2, 10) == b"\0\0"
    assert source.read_at(1 << 31, 10) == b""
    source.read_at(0, kept.KEPT_BYTES + 1)
    source.keep()
    assert not list(tmp_path.iterdir())
    again = kept.KeptSource(zeros, place, COMMIT, "m.gguf")
    again.read_at(0, 100)
    again.keep()
    reads = zeros.reads
    assert kept.KeptSource(zeros, place, COMMIT, "m.gguf").read_at(0, 50) == bytes(50)
    assert zeros.reads == reads
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert msgspec.msgpack.decode(path.read_bytes()) == {0: bytes(100)}
