"""What `docker save` wrote (recorded, both image stores) is examined and never unpacked; a hostile one is refused."""

import contextlib
import hashlib
import io
import json
import resource
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.errors import BadInputError, PreconditionError, VerificationError
from deployer.images import Packing, Window, examine, load, read_parcel
from deployer.images.archive import ArchiveFacts
from deployer.images.tar_stream import MAX_MEMBERS, members

ANSWERS = Path(__file__).parent / "answers"
Entries = dict[str, bytes]


def facts(data: bytes) -> ArchiveFacts:
    return examine(Window(io.BytesIO(data), 0, len(data)), len(data))


def entries(name: str) -> Entries:
    with tarfile.open(ANSWERS / f"{name}.tar") as tar:
        files = [member for member in tar if member.isfile()]
        return {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in files}


def packed(files: Entries, change: Callable[[tarfile.TarInfo], None] = lambda _: None, form: int = 0) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            change(info)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("store", ["classic", "containerd"])
def test_an_archive_of_docker_is_one_image_known_by_its_content(store: str) -> None:
    data = (ANSWERS / f"{store}.tar").read_bytes()
    found = facts(data)
    inspected = json.loads((ANSWERS / f"{store}-built.json").read_text())
    assert inspected["Id"] in found.ids
    assert found.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_that_docker_may_write_is_read(form: int) -> None:
    files = entries("classic")

    def later(info: tarfile.TarInfo) -> None:
        info.mtime = 1.5 if form == tarfile.PAX_FORMAT else 1

    assert facts(packed(files, later, form)).ids == facts((ANSWERS / "classic.tar").read_bytes()).ids


def test_the_older_form_of_docker_is_read() -> None:
    config = b'{"architecture": "amd64"}'
    digest = hashlib.sha256(config).hexdigest()
    manifest = json.dumps(
        [{"Config": f"{digest}.json", "RepoTags": None, "Layers": [f"{'a' * 64}/layer.tar"]}]
    ).encode()
    files = {f"{'a' * 64}/layer.tar": b"x" * 700, f"{digest}.json": config, "manifest.json": manifest}
    assert facts(packed(files)).ids == (f"sha256:{digest}",)


def test_a_name_in_the_archive_would_take_it_from_an_image_that_is_here() -> None:
    named = entries("named")
    with pytest.raises(VerificationError, match="'repositories', which no image has"):
        facts(packed(named))
    del named["repositories"]
    with pytest.raises(VerificationError, match="would give the name 'example/own:v1'"):
        facts(packed(named))
    files = entries("classic")
    index = json.loads(files["index.json"])
    index["manifests"][0]["annotations"] = {"io.containerd.image.name": "docker.io/library/postgres:16"}
    with pytest.raises(VerificationError, match="postgres:16"):
        facts(packed(files | {"index.json": json.dumps(index).encode()}))


def test_a_blob_with_another_content_is_refused() -> None:
    files = entries("classic")
    blob = next(name for name in files if name.startswith("blobs/"))
    with pytest.raises(VerificationError, match=r"the content of [0-9a-f]{12}… is another"):
        facts(packed(files | {blob: files[blob] + b" "}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../../etc/cron.d/x", b"x"),
        ("/etc/passwd", b"x"),
        ("blobs/../../x", b"x"),
        ("etc/passwd", b"x"),
        ("evil\n", b"x"),
        ("manifest.json", b"[]"),
        ("manifest.json", b"{"),
        ("manifest.json", b'[{"Config": "a"}, {"Config": "b"}]'),
        ("manifest.json", b'[{"Config": "0000.json"}]'),
        ("index.json", b"[" * 100_000),
        ("manifest.json", b" " * (5 << 20)),
    ],
)
def test_an_archive_with_anything_else_is_refused(name: str, content: bytes) -> None:
    files = entries("classic")
    del files["index.json"]
    with pytest.raises(VerificationError):
        facts(packed({name: content} | {key: data for key, data in files.items() if key != name}))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"g", b"L", b"V"])
def test_devices_and_odd_entries_are_refused(kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type = kind

    with pytest.raises(VerificationError, match="which no image has"):
        facts(packed({"a" * 64: b""}, change))


def test_a_link_never_stands_for_a_blob() -> None:
    files = entries("classic")
    blob = next(name for name in files if name.startswith("blobs/"))

    def change(info: tarfile.TarInfo) -> None:
        if info.name == blob:
            info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/shadow", 0

    made = packed({name: b"" if name == blob else data for name, data in files.items()}, change)
    with pytest.raises(VerificationError, match="which no image has"):
        facts(made)


@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1])
def test_an_entry_that_claims_more_than_there_is_costs_nothing(size: int) -> None:
    info = tarfile.TarInfo("blobs/sha256/" + "a" * 64)
    info.size = size
    with pytest.raises(VerificationError, match="goes beyond the end"):
        facts(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def test_a_header_record_of_any_length_is_not_read_into_memory() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 1 << 20
    with pytest.raises(VerificationError, match="a header of"):
        facts(info.tobuf() + bytes(2 << 20))


def test_more_entries_than_any_image_has_are_refused() -> None:
    block = tarfile.TarInfo("a" * 64).tobuf()
    data = block * (MAX_MEMBERS + 2)
    with pytest.raises(VerificationError, match="more than"):
        list(members(Window(io.BytesIO(data), 0, len(data)), len(data)))


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=2048) | st.builds(lambda place, byte: (place, byte), st.integers(0, 8000), st.integers(0, 255))
)
def test_no_bytes_break_the_reader(change: Any) -> None:
    data = change
    if isinstance(change, tuple):
        whole = bytearray((ANSWERS / "classic.tar").read_bytes())
        struct.pack_into("B", whole, change[0], change[1])
        data = bytes(whole)
    with contextlib.suppress(VerificationError):
        assert facts(data).ids


# --- the file around it


def pack(path: Path, image: bytes, documents: Entries) -> Any:
    with Packing(path) as packing:
        written = packing.image(iter([image[:100], image[100:]]))
        packing.finish(documents)
    return written


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    image, documents = b"i" * 1500, {"export.json": b"{}", "release/plan.json": b"p" * 513}
    written = pack(tmp_path / "x.tar", image, documents)
    assert (written.size, written.sha256) == (1500, hashlib.sha256(image).hexdigest())
    with (tmp_path / "x.tar").open("rb") as file:
        parcel = read_parcel(file)
        assert parcel.documents == documents
        assert Window(file, parcel.offset, parcel.size).read(9999) == image
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getnames() == ["image.tar", *documents]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Packing(tmp_path / "x.tar") as packing:
        packing.image(broken())
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be written"), Packing(tmp_path / "no" / "x.tar"):
        pass


def test_a_file_that_cannot_grow_is_said_and_not_left(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with Packing(tmp_path / "x.tar") as packing, pytest.raises(BadInputError, match="cannot be written: File too"):
            packing.image(iter([b"x" * 200_000]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 600,
        bytes(10240),
        packed({"other": b"x"}),
        packed({"image.tar": b"x", "big": b"y" * (17 << 20)}),
        packed({"image.tar": b"x"} | {f"f{number}": b"" for number in range(70)}),
    ],
)
def test_a_file_that_is_no_export_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError):
        read_parcel(io.BytesIO(data))


def test_a_document_twice_is_refused() -> None:
    twice = packed({"image.tar": b"x", "a": b"1"})[:-1024]
    cut = twice[: len(twice) - len(twice) % 512]
    with pytest.raises(VerificationError):
        read_parcel(io.BytesIO(cut.rstrip(b"\0").ljust(2048, b"\0") + packed({"a": b"2"})))


# --- the engine


def test_an_image_that_the_engine_does_not_take(fake_engine: Any) -> None:
    with pytest.raises(PreconditionError):
        load(iter([b"x"]), ArchiveFacts("0" * 64, ("sha256:" + "1" * 64,)))
