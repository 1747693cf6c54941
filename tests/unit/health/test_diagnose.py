import pytest

from deployer.health import diagnose
from deployer.types import FailureSignature

SIGNATURES = (
    FailureSignature(pattern=r"failed to allocate buffer for kv cache", cause="too little memory", hint="less context"),
    FailureSignature(pattern=r"invalid magic characters", cause="not a GGUF file", hint="fetch it again"),
    FailureSignature(pattern=r"exiting due to model loading error", cause="the model did not load", hint="see the log"),
)


def test_the_specific_signature_goes_before_its_wrapper() -> None:
    log = "loading\nexiting due to model loading error\nlater: invalid magic characters: 'x'\n"
    assert diagnose(log, 1, False, SIGNATURES).cause == "not a GGUF file"
    assert diagnose("exiting due to model loading error", 1, False, SIGNATURES).cause == "the model did not load"


@pytest.mark.parametrize(
    ("log", "evidence"),
    [
        (
            "RuntimeError: earlier\nWorker gave up.\nTraceback:\n [w.py:1] RuntimeError: 3 is not 4\nKeyError: 'x'",
            "3 is not 4",
        ),
        ("Worker gave up.\nand nothing else", "Worker gave up."),
        ("RuntimeError: Worker gave up. See above", "RuntimeError: Worker gave up. See above"),
    ],
)
def test_the_exception_that_a_final_line_goes_on_to_tell_is_its_evidence(log: str, evidence: str) -> None:
    final = FailureSignature(pattern="Worker gave up", cause="no start", hint="-", final=True, source="here")
    found = diagnose(log, None, False, (final,))
    assert found.cause == "no start"
    assert found.evidence is not None
    assert found.evidence.endswith(evidence)


def test_a_signature_goes_before_the_words_of_the_exit_status() -> None:
    assert diagnose("failed to allocate buffer for kv cache", 134, False, SIGNATURES).hint == "less context"


def test_the_memory_killer_goes_before_everything() -> None:
    found = diagnose("exiting due to model loading error", 137, True, SIGNATURES)
    assert "memory limit" in found.cause
    assert "context" in found.hint


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (125, "Docker could not"),
        (132, "instruction"),
        (134, "SIGABRT"),
        (135, "shared memory"),
        (137, "SIGKILL"),
        (139, "SIGSEGV"),
    ],
)
def test_exit_statuses_in_words(status: int, words: str) -> None:
    found = diagnose("", status, False, SIGNATURES)
    assert words in found.cause
    assert str(status) in found.cause
    assert found.hint


def test_an_unknown_failure_shows_its_last_line() -> None:
    assert diagnose("one\ntwo\n\n", 3, None, ()).cause == "the server ended with exit status 3; its last line: two"
    assert "wrote nothing" in diagnose("", 3, None, ()).cause
    assert diagnose("", None, None, ()).cause == "the log is empty"
    assert diagnose("one\ndeployer: the server ended\n", 3, None, ()).cause.endswith("its last line: one")


def test_whether_the_cause_is_known() -> None:
    assert diagnose("invalid magic characters", 1, None, SIGNATURES).known
    assert diagnose("", 139, None, SIGNATURES).known
    assert diagnose("", 9, True, SIGNATURES).known
    assert not diagnose("listening", None, None, SIGNATURES).known
    assert not diagnose("listening", 3, None, SIGNATURES).known


def test_control_characters_never_come_through() -> None:
    found = diagnose("\x1b]0;owned\x07\x1b[31mred\x1b[0m \x9b31m\u202egnp.exe\x00\r\n", 1, False, ())
    assert found.lines == ("red 31mgnp.exe",)


def test_the_last_lines_and_the_one_that_matched() -> None:
    log = "\n".join(["invalid magic characters", *(f"line {number}" for number in range(100))])
    found = diagnose(log, 1, False, SIGNATURES)
    assert len(found.lines) == 20
    assert found.lines[0] == "invalid magic characters"
    assert found.lines[-1] == "line 99"


def test_a_very_long_line_is_cut() -> None:
    assert len(diagnose("x" * 1_000_000, 1, False, ()).lines[0]) == 500
