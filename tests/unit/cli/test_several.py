"""`-f deployer.yaml` and `config show`, as a script sees them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer.types import DeviceMemory, MemoryPlan
from tests.unit.cli.test_bad_input import ROOT, deployer, refused
from tests.unit.plans import build_plan

CARD = str(ROOT / "profiles/hosts/rtx4090-580.json")
TWO = """\
deployments:
  embed: {model: qwen3-embedding-0.6b, workload: embedding}
  chat: {model: qwen2.5-7b-instruct, users: 4, context: 8192}
defaults: {engine: llama.cpp}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "deployer.yaml"
    path.write_text(TWO)
    return str(path)


def document(*args: str, home: Path, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = deployer(*args, "--json", home=home, env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["format_version"] == 1
    return found


def test_plan_is_one_document_with_devices_and_distinct_ports(file: str, tmp_path: Path) -> None:
    found = document("plan", "-f", file, "--host", CARD, home=tmp_path)
    embed, chat = found["deployments"]
    assert (embed["name"], chat["name"]) == ("embed", "chat")
    assert {embed["port"], chat["port"]} == {8000, 8001}
    assert (chat["settings"]["slots"], chat["request"]["users"]) == (4, 4)
    card, main = found["devices"]
    assert (card["name"], main["device"]) == ("NVIDIA GeForce RTX 4090", "host")
    for device in (card, main):
        assert device["taken_mib"] == sum(device["by"].values()) <= device["available_mib"]
        assert set(device["by"]) == {"embed", "chat"}
    assert found["gateway"] is None
    assert found == document("plan", "-f", file, "--host", CARD, home=tmp_path)


def test_one_name_shows_one_but_counts_all(file: str, tmp_path: Path) -> None:
    found = document("plan", "-f", file, "embed", "--host", CARD, home=tmp_path)
    assert [item["name"] for item in found["deployments"]] == ["embed"]
    assert set(found["devices"][0]["by"]) == {"embed", "chat"}


def test_a_file_with_one_deployment_is_still_a_list(file: str, tmp_path: Path) -> None:
    Path(file).write_text("deployments: {chat: {model: qwen2.5-0.5b-instruct}}\n")
    assert len(document("plan", "-f", file, "--host", CARD, home=tmp_path)["deployments"]) == 1


def test_for_a_person_the_totals_stand_below(file: str, tmp_path: Path) -> None:
    done = deployer("plan", "-f", file, "--host", CARD, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\ntogether\n  GPU 0 NVIDIA GeForce RTX 4090: " in done.stdout
    assert done.stdout.endswith(f"next: on that host: deployer up -f {file}\n")
    told = deployer("plan", "-f", file, "chat", "--users", "2", "--host", CARD, home=tmp_path).stdout
    assert told.endswith(f"next: on that host: deployer up -f {file} chat --users=2\n")


def test_what_does_not_fit_beside_the_others_is_exit_4_and_says_who_takes_what(file: str, tmp_path: Path) -> None:
    fixed = "{model: qwen2.5-32b-instruct, gpus: 0, quant: Q4_K_M, context: 8192, engine: llama.cpp}"
    Path(file).write_text(f"deployments:\n  one: {fixed}\n  two: {fixed}\n")
    host = json.loads(Path(CARD).read_text())
    host["memory"]["available_mib"] = 8000
    small = tmp_path / "host.json"
    small.write_text(json.dumps(host))
    error = refused("plan", "-f", file, "--host", str(small), home=tmp_path, code=4)
    assert str(error["message"]).startswith("two: ")
    assert "one takes " in str(error["message"])
    details: Any = error["details"]
    assert details["deployment"] == "two"
    assert set(details["taken"]) == {"one"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("nonesuch",), "no deployment 'nonesuch'"),
        (("--name", "x"), "--name"),
        (("--port", "9000"), "--port"),
        (("--out", "x.json"), "--out"),
        (("--engine", "nonesuch"), "chat: --engine nonesuch"),
    ],
)
def test_what_makes_no_sense_for_several_is_refused(
    args: tuple[str, ...], words: str, file: str, tmp_path: Path
) -> None:
    assert words in str(refused("plan", "-f", file, *args, "--host", CARD, home=tmp_path)["message"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("deployments:\n  Chat: {model: m}\n", ":2: 'Chat' cannot name a deployment"),
        (
            "deployments:\n  a: {model: m, port: 9000}\n  b: {model: m, port: 9000}\n",
            ":3: b and a both ask for port 9000",
        ),
        ("deployments:\n  a: {modle: m}\n", ":2: deployments/a: unknown key 'modle'; did you mean model"),
        ("deployments:\n  a: {model: qwen2.5-7b-instrct}\n", "qwen2.5-7b-instrct"),
    ],
)
def test_a_wrong_file_is_refused_by_every_verb(text: str, words: str, file: str, tmp_path: Path) -> None:
    Path(file).write_text(text)
    assert words in str(refused("plan", "-f", file, "--host", CARD, home=tmp_path)["message"])
    if "instrct" not in text:
        for verb in (("up", "--yes"), ("down",), ("status",)):
            assert words in str(refused(verb[0], "-f", file, *verb[1:], home=tmp_path)["message"])


def test_render_writes_a_folder_for_each(file: str, tmp_path: Path) -> None:
    out = tmp_path / "files"
    found = document("render", "-f", file, "--host", CARD, "--dir", str(out), home=tmp_path)
    assert {Path(path).relative_to(out).parts[0] for path in found["files"]} == {"embed", "chat"}
    assert "deployer-chat" in (out / "chat/compose.yaml").read_text()


def test_plan_and_render_show_the_gateway(file: str, tmp_path: Path) -> None:
    Path(file).write_text(TWO + "gateway: {port: 9100}\n")
    found = document("plan", "-f", file, "--host", CARD, home=tmp_path)["gateway"]
    assert found["base_url"] == "http://127.0.0.1:9100/v1"
    assert found["models"] == ["embed", "chat"]
    out = tmp_path / "files"
    document("render", "-f", file, "--host", CARD, "--dir", str(out), home=tmp_path)
    assert "backend model-embed" in (out / "gateway/haproxy.cfg").read_text()
    told = deployer("plan", "-f", file, "--host", CARD, home=tmp_path).stdout
    assert "gateway: http://127.0.0.1:9100/v1 for embed, chat" in told
    assert document("status", "-f", file, home=tmp_path)["gateway"]["status"] == "absent"


def test_an_unknown_model_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("deployments:\n  embed: {model: qwen3-embedding-0.6b}\n  chat:\n    model: nosuch\n")
    error = refused("plan", "-f", str(path), "--host", CARD, home=tmp_path)
    assert error["kind"] == "unknown-model"
    assert str(error["message"]).startswith(f"{path}:4: deployments/chat/model: ")


def test_memory_is_told_of_gpus_by_index_and_name(file: str, tmp_path: Path) -> None:
    shown = deployer("plan", "-f", file, "--host", CARD, home=tmp_path).stdout
    assert "GPU-" not in shown
    assert "  GPU 0 NVIDIA GeForce RTX 4090: " in shown
    first = shown.splitlines().index("memory") + 1
    bars = [line for line in shown.splitlines()[first : first + 2] if "[" in line]
    assert bars[0].startswith("  GPU 0 NVIDIA GeForce RTX 4090 [")
    assert len({line.index("[") for line in bars}) == 1
    assert bars[1].startswith("  host  ")


def test_status_and_down_know_what_was_never_brought_up(file: str, tmp_path: Path) -> None:
    status = document("status", "-f", file, home=tmp_path)
    assert status["gateway"] is None
    rows = status["deployments"]
    assert [(row["name"], row["status"]) for row in rows] == [("embed", "absent"), ("chat", "absent")]
    found = document("down", "-f", file, home=tmp_path)
    assert found["deployments"] == [{"name": "chat", "changed": False}, {"name": "embed", "changed": False}]
    said = deployer("down", "-f", file, "-y", home=tmp_path)
    assert "chat was not running" in said.stderr
    assert "embed was not running" in said.stderr
    shown = deployer("status", "-f", file, home=tmp_path)
    assert shown.stdout.splitlines()[1].split()[:4] == ["embed", "absent", "-", "-"]
    said = deployer("down", "-f", file, "chat", "--dry-run", home=tmp_path)
    assert (said.returncode, said.stderr) == (0, "would stop chat\n")
    would = document("down", "-f", file, "--dry-run", home=tmp_path)
    assert would["dry_run"] is True
    assert [(item["name"], item["would"]) for item in would["deployments"]] == [("chat", "stop"), ("embed", "stop")]


def test_up_without_a_terminal_wants_a_yes_and_a_dry_run_changes_nothing(file: str, tmp_path: Path) -> None:
    Path(file).write_text("deployments: {chat: {model: qwen2.5-0.5b-instruct, gpus: none}}\n")
    dry = deployer("up", "-f", file, "--dry-run", home=tmp_path)
    assert "chat: " in dry.stdout
    told = document("up", "-f", file, "--dry-run", home=tmp_path)
    assert (told["dry_run"], [item["name"] for item in told["plan"]["deployments"]]) == (True, ["chat"])
    asked = deployer("up", "-f", file, home=tmp_path)
    assert asked.returncode == 3
    assert "add --yes" in asked.stderr
    assert not (tmp_path / "deployments").exists()


def test_one_model_is_still_asked_for_in_the_same_words(tmp_path: Path) -> None:
    assert "Missing argument 'MODEL'" in str(refused("plan", home=tmp_path)["message"])
    assert "unexpected extra argument (b)" in str(refused("plan", "a", "b", home=tmp_path)["message"])
    assert "unexpected extra argument (b)" in str(refused("down", "a", "b", home=tmp_path)["message"])


def test_a_dry_run_of_one_model_is_one_document(tmp_path: Path) -> None:
    told = document("up", "qwen2.5-0.5b-instruct", "--gpus", "none", "--dry-run", home=tmp_path)
    assert (told["dry_run"], told["changed"]) == (True, False)
    assert told["plan"]["name"] == "qwen2-5-0-5b-instruct"
    assert not (tmp_path / "deployments").exists()


def test_flags_win_over_variables_over_the_file_over_config(file: str, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("users: 2\nslots: 2\n")

    def users(*args: str, **env: str) -> list[int]:
        found = document("plan", "-f", file, "--host", CARD, *args, home=tmp_path, env=env)
        return [item["request"]["users"] for item in found["deployments"]]

    assert users() == [2, 4]
    assert users(DEPLOYER_USERS="3") == [3, 3]
    assert users("--users", "5", DEPLOYER_USERS="3") == [5, 5]


def test_a_single_plan_follows_variables_and_config_too(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("users: 2\ncontext: 2048\n")
    asked = ("plan", "qwen2.5-0.5b-instruct", "--host", CARD)
    found = document(*asked, home=tmp_path, env={"DEPLOYER_CONTEXT": "4096"})["request"]
    assert (found["users"], found["context"]) == (2, 4096)
    assert document(*asked, "--context", "1024", home=tmp_path)["request"]["context"] == 1024
    (tmp_path / "config/config.yaml").write_text("users: 2\nengin: vllm\n")
    message = str(refused(*asked, home=tmp_path)["message"])
    assert "config.yaml:2: unknown key 'engin'; did you mean engine" in message


def test_what_config_says_does_not_forbid_a_saved_plan(tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    saved.write_bytes(msgspec.json.encode(build_plan()))
    done = deployer("render", str(saved), "--dir", str(tmp_path / "x"), home=tmp_path, env={"DEPLOYER_USERS": "3"})
    assert "decided that already" not in done.stderr
    assert "decided that already" in str(refused("render", str(saved), "--users", "3", home=tmp_path)["message"])


def test_what_is_for_one_deployment_is_refused_for_several_also_as_a_variable(file: str, tmp_path: Path) -> None:
    asked = ("plan", "qwen2.5-0.5b-instruct", "--host", CARD)
    env = {"DEPLOYER_PORT": "9000", "DEPLOYER_NAME": "mine"}
    found = document(*asked, home=tmp_path, env=env)
    assert (found["name"], found["port"]) == ("mine", 9000)
    assert document(*asked, "--name", "other", home=tmp_path, env=env)["name"] == "other"
    done = deployer("plan", "-f", file, "--host", CARD, home=tmp_path, env=env)
    assert done.returncode == 2
    assert "DEPLOYER_NAME is for one deployment" in done.stderr


def test_what_to_do_next_keeps_the_flags(file: str, tmp_path: Path) -> None:
    asked = ("qwen2.5-0.5b-instruct", "--gpus", "none", "--name", "x", "--port", "9001", "--timeout", "9", "--no-build")
    dry = deployer("up", *asked, "--dry-run", home=tmp_path).stdout.splitlines()[-1]
    told = "deployer up qwen2.5-0.5b-instruct --gpus=none --name=x --port=9001 --timeout=9.0 --no-build --yes"
    assert dry == f"next: {told}"
    assert told in deployer("up", *asked, home=tmp_path).stderr
    Path(file).write_text("deployments: {chat: {model: qwen2.5-0.5b-instruct, gpus: none}}\n")
    again = deployer("up", "-f", file, "chat", "--users", "2", home=tmp_path)
    assert again.returncode == 3
    assert f"add --yes: deployer up -f {file} chat --users=2 --yes" in again.stderr


def test_config_show_tells_value_and_origin(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("users: 2\n")
    settings = document("config", "show", home=tmp_path, env={"DEPLOYER_KV_TYPE": "q8_0"})["settings"]
    found = {item["word"]: (item["value"], item["origin"], item["where"]) for item in settings}
    assert found["users"] == (2, "user", f"{tmp_path}/config/config.yaml:1")
    assert found["kv-type"] == ("q8_0", "environment", "DEPLOYER_KV_TYPE")
    assert found["workload"] == ("chat", "built-in", None)
    table = deployer("config", "show", "--origin", home=tmp_path).stdout
    assert "users             2" in table
    assert "ORIGIN" in table
    assert "ORIGIN" not in deployer("config", "show", home=tmp_path).stdout
    assert f"config.yaml of the user: {tmp_path}/config/config.yaml\n" in table
    (tmp_path / "config/config.yaml").unlink()
    assert f"{tmp_path}/config/config.yaml (not there" in deployer("config", "show", home=tmp_path).stdout
    assert document("config", "show", home=tmp_path)["files"] == [
        {"origin": "user", "path": f"{tmp_path}/config/config.yaml", "present": False}
    ]


def test_devices_of_plans_count_as_they_are() -> None:
    """The numbers of the document come from the plans' own memory."""
    from deployer.decide import taken

    part = DeviceMemory(
        device="host",
        weights_mib=1,
        kv_cache_mib=2,
        compute_mib=3,
        overhead_mib=4,
        total_mib=10,
        margin_mib=5,
        available_mib=100,
    )
    made = msgspec.structs.replace(build_plan(), memory=MemoryPlan(devices=(part,)))
    assert taken(made) == {"host": 15 + made.settings.prompt_cache_mib}
