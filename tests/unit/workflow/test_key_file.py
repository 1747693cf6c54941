"""What `--key-file` may be."""

from pathlib import Path

import pytest

from deployer.errors import BadInputError
from deployer.workflow.key_file import MAX_BYTES, read_key


def test_a_link_to_a_file_is_followed_and_space_around_the_key_is_not_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("  secret\n")
    (tmp_path / "link").symlink_to("key")
    assert read_key(tmp_path / "link") == "secret"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"\xff", "not text"),
        (b"k" * (MAX_BYTES + 1), "larger than 64 KiB"),
    ],
)
def test_what_holds_no_key_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        read_key(path)


def test_the_largest_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * MAX_BYTES)
    assert len(read_key(path)) == MAX_BYTES


def test_a_device_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(BadInputError, match="not a regular file"):
            read_key(path)


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="No such file"):
        read_key(tmp_path / "nothing")
    with pytest.raises(BadInputError, match="Is a directory"):
        read_key(tmp_path)
