"""`deployer.yaml` and `config.yaml`: what is wrong is named with file, line and the nearest valid word."""

from pathlib import Path

import pytest

from deployer.catalog.deployments import check_words, line_of, load_config, load_deployments
from deployer.errors import ProfileError

GOOD = """\
# two models on one host
deployments:
  chat:
    model: qwen2.5-7b-instruct
    users: 4
    gpus: [0, 1]
    engine-arg: ["--top-k", "40"]
  embed: {model: bge-m3, workload: embedding, gpus: none, port: 9000}
defaults:
  context: 4096
  kv-type: q8_0
gateway: {port: 8080}
"""


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "deployer.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(tmp_path: Path, text: str | bytes) -> ProfileError:
    path = written(tmp_path, text)
    with pytest.raises(ProfileError) as caught:
        load_deployments(path)
    assert caught.value.message.startswith(str(path))
    assert caught.value.exit_code == 2
    return caught.value


def test_a_good_file_is_read_in_its_order(tmp_path: Path) -> None:
    found = load_deployments(written(tmp_path, GOOD))
    assert list(found.deployments) == ["chat", "embed"]
    assert found.lines == {"chat": 3, "embed": 8}
    chat, embed = found.deployments.values()
    assert (chat.users, chat.gpus, chat.engine_arg) == (4, (0, 1), ("--top-k", "40"))
    assert (embed.workload, embed.gpus, embed.port) == ("embedding", "none", 9000)
    assert (found.defaults.context, found.defaults.kv_type) == (4096, "q8_0")
    assert found.gateway is not None
    assert found.gateway.port == 8080


@pytest.mark.parametrize(("text", "wished"), [("true", True), ("false", False), ("null", False)])
def test_a_gateway_may_be_a_word(text: str, wished: bool, tmp_path: Path) -> None:
    found = load_deployments(written(tmp_path, f"deployments: {{a: {{model: m}}}}\ngateway: {text}\n"))
    assert (found.gateway is not None) is wished


@pytest.mark.parametrize(
    ("inside", "line", "words"),
    [
        ("    user: 4", 4, ("unknown key 'user'", "did you mean users?")),
        ("    kv_type: f16", 4, ("unknown key 'kv_type'", "did you mean kv-type?")),
        ("    name: x", 4, ("unknown key 'name'",)),
        ("    users: 0", 4, ("deployments/chat/users", ">= 1")),
        ("    users: 5000", 4, ("deployments/chat/users", "<= 4096")),
        ("    users: many", 4, ("deployments/chat/users", "expected int, got str")),
        ("    context: 8k", 4, ("deployments/chat/context", "expected int")),
        ("    context: 100", 4, (">= 256",)),
        ("    workload: chatt", 4, ("agents, batch, chat, embedding", "'chatt'", "did you mean chat?")),
        ("    runtime: kubernetes", 4, ("compose, process",)),
        ("    port: 80", 4, ("deployments/chat/port", ">= 1024")),
        ("    address: localhost", 4, ("'localhost' is not an IP address",)),
        ("    engine-arg: [--top-k, 40]", 4, ("engine-arg/1", "expected str, got int")),
        ("    gpus: {a: 1}", 4, ("deployments/chat/gpus",)),
        ("    model: again", 4, ("duplicate key 'model'",)),
    ],
)
def test_a_wrong_word_is_named_with_its_line(inside: str, line: int, words: tuple[str, ...], tmp_path: Path) -> None:
    message = refused(tmp_path, f"deployments:\n  chat:\n    model: m\n{inside}\n").message
    assert message.startswith(f"{tmp_path}/deployer.yaml:{line}: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it says nothing"),
        ("# nothing", "it says nothing"),
        ("[]", "expected mapping, got list"),
        ("chat: {model: m}", "unknown key 'chat'"),
        ("deployments: {}", "0 deployments"),
        ("deployments: [a]", "expected mapping"),
        ("deployments: {chat: }", "expected mapping"),
        ("deployments: {chat: {users: 2}}", "missing key 'model'"),
        ("deployments: {chat: {model: m}}\ngatewey: true", "did you mean gateway?"),
        ("deployments: {chat: {model: m}}\ngateway: {prt: 1}", "did you mean port?"),
        ("deployments: {chat: {model: m}}\ngateway: maybe", ":2: gateway: expected true, or a mapping, not 'maybe'"),
        ("deployments: {chat: {model: m}}\ndefaults: {model: m}", "unknown key 'model'"),
        ("deployments: {chat: {model: m}}\ndefaults: {port: 8000}", "unknown key 'port'"),
        ("deployments:\n  chat: {model: a}\n  chat: {model: b}", "duplicate key 'chat'"),
        ("deployments:\n  chat: &x {model: a}\n  b:\n    <<: *x", "merge keys"),
        ("deployments:\n  chat: !!python/object:os.system {}", "not allowed in this file"),
        ("a: 1\n---\nb: 2", "document"),
        ("deployments:\n\tchat: 1", ":2: column 1: "),
        ("[" * 5000, "nested too deeply"),
        (b"\xff\xfe", "not UTF-8"),
        (b"deployments: \x00", "control characters"),
    ],
)
def test_what_is_no_such_file_is_refused(text: str | bytes, words: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert words in error.message
    assert error.hint


def test_a_bomb_of_anchors_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)]
    assert "100000 values" in refused(tmp_path, "\n".join(lines)).message


def test_a_file_that_is_too_large_or_not_there_is_refused(tmp_path: Path) -> None:
    large = refused(tmp_path, b"#" * 1_000_001).message
    assert "larger than" in large
    assert "profile" not in large
    many = "\n".join(f"  d{i}: {{model: m}}" for i in range(65))
    assert "65 deployments" in refused(tmp_path, f"deployments:\n{many}\n").message
    with pytest.raises(ProfileError, match="cannot be read"):
        load_deployments(tmp_path / "none.yaml")


def test_config_says_the_line_of_every_word(tmp_path: Path) -> None:
    path = written(tmp_path, "# mine\nengine: llama.cpp\n\nusers: 3\n")
    wishes, lines = load_config(path)
    assert (wishes.engine, wishes.users) == ("llama.cpp", 3)
    assert lines == {"engine": 2, "users": 4}
    assert load_config(written(tmp_path, ""))[0].users is None


def test_a_place_that_is_not_there_is_as_near_as_possible() -> None:
    text = "a:\n  b:\n  - x\n  - y\n"
    assert [line_of(text, steps) for steps in (("a", "b", "1"), ("a", "b", "9"), ("a", "z"), ("q",))] == [4, 2, 1, None]


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"users": "4"}, 4), ({"engine": "4"}, "4"), ({"kv-type": "f16"}, "f16"), ({"gpus": "0,1"}, "0,1")],
)
def test_text_becomes_the_words_type(values: dict[str, object], expected: object) -> None:
    assert list(check_words(values, "X").values()) == [expected]


@pytest.mark.parametrize("values", [{"users": "x"}, {"users": "0"}, {"workload": "x"}, {"address": "x"}])
def test_text_that_cannot_is_refused_by_its_label(values: dict[str, object]) -> None:
    with pytest.raises(ProfileError, match=r"^DEPLOYER_X: "):
        check_words(values, "DEPLOYER_X")
