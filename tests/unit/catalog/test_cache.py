"""The cache gives what the sources give, and is never believed when it should not be."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from deployer import catalog
from deployer.catalog import load
from deployer.catalog.cache import cache_folder, cached
from deployer.types import Knowledge


class Word(msgspec.Struct, frozen=True):
    """Something to keep."""

    text: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPLOYER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "word").write_text("first")
    return folder


class Builder:
    """Reads the word, and counts how often it had to."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.calls = 0

    def __call__(self) -> Word:
        self.calls += 1
        return Word((self.source / "below" / "word").read_text())


@pytest.fixture
def builder(source: Path) -> Builder:
    return Builder(source)


@pytest.fixture
def read(home: Path, source: Path, builder: Builder) -> Callable[[], str]:
    return lambda: cached("word", Word, (source,), builder).text


def file_of(home: Path) -> Path:
    return home / "cache" / "word.msgpack"


def test_the_second_time_comes_from_the_cache(home: Path, builder: Builder, read: Callable[[], str]) -> None:
    assert (read(), read(), builder.calls) == ("first", "first", 1)
    assert file_of(home).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file_of(home).parent.iterdir()] == ["word.msgpack"]


def test_a_changed_source_is_read_again(source: Path, builder: Builder, read: Callable[[], str]) -> None:
    assert read() == "first"
    (source / "below" / "word").write_text("other")
    os.utime(source / "below" / "word", ns=(1, 1))
    assert (read(), builder.calls) == ("other", 2)
    (source / "new").write_text("")
    assert (read(), builder.calls) == ("other", 3)


def test_a_source_that_changes_while_it_is_read_is_not_kept(home: Path, source: Path) -> None:
    def build() -> Word:
        (source / "late").write_text("")
        return Word("half")

    assert cached("word", Word, (source,), build).text == "half"
    assert not file_of(home).exists()


@pytest.mark.parametrize("damage", [b"", b"x" * 10, b"x" * 200])
def test_a_damaged_file_is_made_again(home: Path, builder: Builder, read: Callable[[], str], damage: bytes) -> None:
    read()
    good = file_of(home).read_bytes()
    file_of(home).write_bytes(damage)
    assert (read(), builder.calls) == ("first", 2)
    assert file_of(home).read_bytes() == good


def test_a_changed_payload_is_not_believed(home: Path, builder: Builder, read: Callable[[], str]) -> None:
    read()
    content = file_of(home).read_bytes()
    file_of(home).write_bytes(content.replace(b"first", b"wrong"))
    assert (read(), builder.calls) == ("first", 2)


@pytest.mark.parametrize("mode", [0o660, 0o606])
def test_a_file_that_others_may_write_is_not_believed(
    home: Path, builder: Builder, read: Callable[[], str], mode: int
) -> None:
    read()
    file_of(home).chmod(mode)
    assert (read(), builder.calls) == ("first", 2)
    assert file_of(home).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_may_write_is_not_used(home: Path, builder: Builder, read: Callable[[], str]) -> None:
    read()
    file_of(home).parent.chmod(0o777)
    assert (read(), read(), builder.calls) == ("first", "first", 3)


def test_a_link_is_not_followed(home: Path, tmp_path: Path, builder: Builder, read: Callable[[], str]) -> None:
    read()
    file_of(home).rename(tmp_path / "elsewhere")
    file_of(home).symlink_to(tmp_path / "elsewhere")
    assert (read(), builder.calls) == ("first", 2)
    assert not file_of(home).is_symlink()


def test_without_a_place_to_write_it_works_all_the_same(home: Path, builder: Builder, read: Callable[[], str]) -> None:
    home.write_text("a file where the folder should be")
    assert (read(), read(), builder.calls) == ("first", "first", 2)


def test_what_fails_is_not_kept(home: Path, source: Path) -> None:
    def build() -> Word:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        cached("word", Word, (source,), build)
    assert not file_of(home).exists()


def test_a_source_that_is_not_there_is_left_to_the_builder(home: Path, tmp_path: Path) -> None:
    assert cached("word", Word, (tmp_path / "none",), lambda: Word("made")).text == "made"
    assert not file_of(home).exists()


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DEPLOYER_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "deployer"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "deployer"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cache_folder() == Path("/var/cache/deployer")


def test_knowledge_is_the_same_from_the_cache(home: Path) -> None:
    first, second = catalog.load_knowledge(), catalog.load_knowledge()
    assert (home / "cache" / "knowledge.msgpack").is_file()
    assert isinstance(second, Knowledge)
    assert first == second == load.load_knowledge()
    assert catalog.load_models() == catalog.load_models() == load.load_models()


def test_an_overlay_has_a_cache_of_its_own(home: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "mine"
    overlay.mkdir()
    card = "- {name: Card, vendor: nvidia, architecture: x, memory_mib: 1, bandwidth_gb_s: 1}\n"
    (overlay / "gpus.yaml").write_text(card)
    assert [gpu.name for gpu in catalog.load_knowledge(overlay=overlay).gpus] == ["Card"]
    assert len(catalog.load_knowledge().gpus) > 1
    (overlay / "gpus.yaml").write_text(card.replace("Card", "Other"))
    assert [gpu.name for gpu in catalog.load_knowledge(overlay=overlay).gpus] == ["Other"]
    assert len(list((home / "cache").iterdir())) == 2


def test_a_folder_of_profiles_that_is_named_is_never_cached(home: Path) -> None:
    from deployer.paths import data_dir

    catalog.load_knowledge(data_dir("profiles"))
    assert not (home / "cache").exists()
