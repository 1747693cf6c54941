from deployer.runtime.lines import escape, readable, split_lines


def test_control_characters_are_written_out() -> None:
    assert escape("a\tb\x1b[31m\x07\x9b\r") == "a\tb\\x1b[31m\\x07\\x9b\\x0d"
    assert escape("\u202egnp.exe") == "\\u202egnp.exe"
    assert escape("grün 漢字 🙂") == "grün 漢字 🙂"


def test_bytes_that_are_not_text_are_readable() -> None:
    assert readable(b"ok \xff\xfe\x00") == "ok \ufffd\ufffd\\x00"


def test_lines_do_not_depend_on_how_the_chunks_fall() -> None:
    text = b"one\ntwo\r\n\nthree"
    whole = list(split_lines([text]))
    assert whole == [b"one", b"two", b"", b"three"]
    assert all(list(split_lines([text[:cut], text[cut:]])) == whole for cut in range(len(text)))


def test_a_line_without_end_stays_bounded() -> None:
    pieces = list(split_lines((b"x" * 1000 for _ in range(100)), limit=4096))
    assert max(len(piece) for piece in pieces) == 4096
    assert b"".join(pieces) == b"x" * 100_000
