"""Bad input gets one clear message and exit 2, never a traceback, and nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HOST = str(ROOT / "profiles/hosts/p40x2-580.json")
NAME = "qwen2.5-7b-instruct"


def deployer(*args: str, home: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployer", *args],
        env={**os.environ, "DEPLOYER_HOME": str(home), "DOCKER_HOST": "unix:///nonexistent.sock", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def refused(*args: str, home: Path, code: int = 2) -> dict[str, object]:
    """The `error` of the one document on stdout; stderr has the same message and no traceback."""
    done = deployer(*args, "--json", home=home)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    error: dict[str, object] = json.loads(done.stdout)["error"]
    assert str(error["message"]).splitlines()[0] in done.stderr
    return error


def test_a_wrong_verb_names_the_nearest(tmp_path: Path) -> None:
    assert "did you mean plan?" in str(refused("plna", home=tmp_path)["message"])


def test_a_wrong_flag_names_the_nearest(tmp_path: Path) -> None:
    assert "--users" in str(refused("plan", NAME, "--user", "2", home=tmp_path)["message"])


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (("plan", NAME, "--workload", "chatt"), "'embedding'; did you mean chat?"),
        (("connect", "--for", "n8m"), "'ssh'; did you mean n8n?"),
        (("config", "show", "--orign"), "'--orign'; did you mean --origin?"),
        (("images", "exprt"), "'exprt'; did you mean export?"),
        (("bench", "--suite", "latancy"), "no such measurement; did you mean latency?"),
    ],
)
def test_a_wrong_word_names_the_nearest(args: tuple[str, ...], meant: str, tmp_path: Path) -> None:
    assert meant in str(refused(*args, home=tmp_path)["message"])


def test_a_folder_that_is_not_there_for_a_plan_has_nothing_to_do_with_the_state(tmp_path: Path) -> None:
    error = refused("plan", NAME, "--host", HOST, "--out", str(tmp_path / "no/x.json"), home=tmp_path)
    assert "no/x.json" in str(error["message"])
    assert error["hint"] == "choose another place: deployer plan MODEL --out plan.json"


def test_an_unknown_engine_names_the_nearest(tmp_path: Path) -> None:
    assert "no engine 'vlm'; did you mean vllm?" in deployer("docs", "vlm", home=tmp_path).stderr


@pytest.mark.parametrize("gpus", ["a", "0;1", "0,,1", "-1x"])
def test_a_wrong_gpu_list_shows_the_form(gpus: str, tmp_path: Path) -> None:
    assert "--gpus" in str(refused("plan", NAME, "--host", HOST, f"--gpus={gpus}", home=tmp_path)["message"])


def test_an_unknown_model_names_the_nearest(tmp_path: Path) -> None:
    error = refused("plan", "qwen2.5-7b-instrct", "--host", HOST, home=tmp_path)
    assert error["kind"] == "unknown-model"
    assert NAME in json.dumps(error)


def test_a_host_file_with_a_wrong_type_names_the_key(tmp_path: Path) -> None:
    host = tmp_path / "host.json"
    host.write_text('{"format_version": 1, "gpus": [{"index": 0, "memory_total_mib": "24 GB"}]}')
    message = str(refused("plan", NAME, "--host", str(host), home=tmp_path)["message"])
    assert "gpus/0/memory_total_mib" in message
    assert "expected int" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\xff", '{"format_version": 999}'])
def test_a_host_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    host = tmp_path / "host.json"
    host.write_text(text)
    assert "host.json" in str(refused("plan", NAME, "--host", str(host), home=tmp_path)["message"])


@pytest.mark.parametrize("name", ["; rm -rf /", "${HF_TOKEN}", "a\nb", "../x", "-rf", "\x1b[2J", "A", "x" * 300, ""])
def test_a_deployment_name_is_a_plain_word(name: str, tmp_path: Path) -> None:
    error = refused("plan", NAME, "--host", HOST, f"--name={name}", home=tmp_path)
    assert "\x1b" not in json.dumps(error, ensure_ascii=False)


@pytest.mark.parametrize("argument", ["--rpc", "--api-key=x", "--host", "--port=1", "--tools"])
def test_an_engine_argument_that_would_open_the_server_is_refused(argument: str, tmp_path: Path) -> None:
    error = refused("plan", NAME, "--host", HOST, f"--engine-arg={argument}", home=tmp_path)
    assert argument.partition("=")[0] in str(error["message"])


def test_a_model_file_cut_short_is_named(tmp_path: Path) -> None:
    model = tmp_path / "cut.gguf"
    model.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x00" * 7)
    error = refused("plan", str(model), "--host", HOST, home=tmp_path)
    assert error["kind"] == "bad-model-file"
    assert "cut.gguf" in str(error["message"])


def test_a_saved_plan_that_is_none_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"engine": 1}')
    assert "plan.json" in str(refused("up", str(plan), "--yes", home=tmp_path)["message"])


def test_an_edited_plan_is_stale(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    made = deployer("plan", NAME, "--host", HOST, "--out", str(plan), "--json", home=tmp_path)
    assert made.returncode == 0, made.stderr
    plan.write_text(plan.read_text().replace('"127.0.0.1"', '"0.0.0.0"'))
    assert refused("up", str(plan), "--yes", home=tmp_path, code=3)["kind"] == "stale-plan"


def test_a_plan_for_another_host_is_stale(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    assert deployer("plan", NAME, "--host", HOST, "--out", str(plan), home=tmp_path).returncode == 0
    error = refused("up", str(plan), "--yes", home=tmp_path, code=3)
    assert error["kind"] == "stale-plan"
    assert "fingerprint" in str(error["message"])


def test_nothing_that_fits_is_exit_4_with_every_reason(tmp_path: Path) -> None:
    host = tmp_path / "small.json"
    facts = json.loads(Path(HOST).read_text())
    host.write_text(json.dumps({**facts, "gpus": [], "memory": {"total_mib": 4000, "available_mib": 3000}}))
    done = deployer("plan", "llama-3.3-70b-instruct", "--host", str(host), "--json", home=tmp_path)
    assert done.returncode == 4, done.stderr
    document = json.loads(done.stdout)
    assert document["error"]["kind"] == "no-fit"
    assert document["rejected"]
    assert {"engine", "image", "quantization", "rule", "reason"} <= set(document["rejected"][0])


def test_an_unwritable_state_folder_is_named_before_anything_happens(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    error = refused("up", "smollm2-135m-instruct", "--yes", home=blocked / "home", code=3)
    assert error["kind"] == "state"
    assert str(blocked) in str(error["message"])
    assert blocked.read_text() == "in the way"


def test_no_terminal_and_no_yes_is_a_refusal(tmp_path: Path) -> None:
    done = deployer("up", "smollm2-135m-instruct", home=tmp_path)
    assert done.returncode == 3
    assert "--yes" in done.stderr


def test_an_unknown_deployment_lists_those_there_are(tmp_path: Path) -> None:
    for verb in ("logs", "down", "history", "connect", "check"):
        done = deployer(verb, "nobody", home=tmp_path)
        assert done.returncode == 2, (verb, done.stderr)
        assert "nobody" in done.stderr


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m deployer docs llama.cpp | head -1; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        env={**os.environ, "DEPLOYER_HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "-f", "{}"),
        ("plan", NAME, "--host", "{}"),
        ("plan", "{}", "--host", HOST),
        ("up", "{}", "--yes"),
        ("check", "--url", "http://127.0.0.1:1", "--key-file", "{}"),
        ("adopt", "http://127.0.0.1:1", "--name", "desk", "--key-file", "{}"),
    ],
)
def test_a_pipe_is_refused_and_never_waited_for(words: tuple[str, ...], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    error = refused(*(word.format(pipe) for word in words), home=tmp_path)
    assert str(error["message"]).endswith(f"{pipe}: not a regular file")


def test_a_device_is_no_model(tmp_path: Path) -> None:
    assert refused("plan", "/dev/zero", "--host", HOST, home=tmp_path)["message"] == "/dev/zero: not a regular file"


@pytest.mark.parametrize("verb", ["fit", "plan"])
@pytest.mark.parametrize("reference", ["", "hf:日本/語"])
def test_a_reference_that_names_nothing_is_refused_as_such(reference: str, verb: str, tmp_path: Path) -> None:
    error = refused(verb, reference, home=tmp_path)
    assert "is not a model reference" in str(error["message"])
    assert "--name" not in str(error["hint"])


def test_fit_needs_no_name_for_a_file_whose_own_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "語.gguf").write_bytes(b"no model")
    assert refused("fit", str(tmp_path / "語.gguf"), home=tmp_path)["kind"] == "bad-model-file"


def test_an_ipv6_address_has_brackets_in_its_url(tmp_path: Path) -> None:
    done = deployer("plan", NAME, "--host", HOST, "--address", "::1", "--port", "18555", home=tmp_path)
    assert "http://[::1]:18555/v1" in done.stdout
