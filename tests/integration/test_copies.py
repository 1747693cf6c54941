"""Two copies of llama.cpp behind a real gateway: as decided for two GPUs, with the command of this machine's processor.

Nothing here has a GPU. The decision for a made-up host with two of them gives the copies, their slots and the gateway;
image, command and memory are from the plan for this machine. Docker, HAProxy, llama.cpp and the client are real.
"""

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import openai
import pytest
import requests

from deployer.decide import plan_hash
from deployer.types import Plan
from tests.integration.conftest import (
    GATEWAY_LABEL,
    NAME_LABEL,
    Deployer,
    end_processes,
    free_port,
    remove_containers,
)
from tests.integration.served import UP_LIMIT_S, Served, arguments_of_all_processes
from tests.unit.decide.hosts import gpu, host
from tests.unit.decide.hosts import plan as decided

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

NAME, COPIES, SLOTS = "copied", 2, 4
P40 = ("Tesla P40", "6.1", 24576)
STORY: Any = [{"role": "user", "content": "Tell me a long story about a lighthouse."}]
METRICS = "deployer_requests_waiting"


@pytest.fixture(scope="module")
def served(
    docker_engine: "docker.DockerClient", gateway_image: str, llama_image: str, model_file: Path
) -> Iterator[Served]:
    assert docker_engine.images.get(gateway_image).id
    folder = Path(tempfile.mkdtemp(prefix="deployer-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    for part in ("home", "work"):
        (folder / part).mkdir(mode=0o755)
    command, file = Deployer(folder / "home"), folder / "work" / "plan.json"
    try:
        words = ("--runtime", "compose", "--image", f"debian={llama_image}", "--context", "1024", "--users", str(SLOTS))
        command("plan", str(model_file), *words, "--name", NAME, "--port", str(free_port()), "--out", str(file)).ok()
        file.write_bytes(msgspec.json.encode(as_copies(msgspec.json.decode(file.read_bytes(), type=Plan))))
        up = command("up", str(file), "--yes", "--json", timeout_s=UP_LIMIT_S).ok()
        yield Served(command, up.json(), (str(file),), {})
    finally:
        command("down", NAME, "--yes")
        remove_containers(docker_engine, command.home)
        end_processes(command.home)
        shutil.rmtree(folder)


def as_copies(mine: Plan) -> Plan:
    """The plan for this machine's processor with the copies, the gateway and the settings of one for two GPUs."""
    where = host(gpu(0, *P40), gpu(1, *P40))
    theirs = decided(where, "qwen2.5-14b-instruct", engine="llama.cpp", users=SLOTS, context=1024, workload="batch")
    theirs = theirs if theirs.copies == COPIES else decided(where, "qwen2.5-14b-instruct", users=16, context=1024)
    assert (theirs.copies, theirs.settings.data_parallel) == (COPIES, COPIES)
    assert theirs.gateway is not None
    flags = {"--parallel": str(SLOTS // COPIES), "--ctx-size": str(1024 * SLOTS // COPIES), "--threads": "1"}
    words = list(mine.command)
    for flag, value in flags.items():
        assert flag in theirs.command
        words[words.index(flag) + 1] = value
    changed = msgspec.structs.replace(
        mine,
        copies=theirs.copies,
        gateway=theirs.gateway,
        health=theirs.health,
        settings=msgspec.structs.replace(mine.settings, data_parallel=COPIES, slots=SLOTS, threads=1),
        command=tuple(words),
    )
    return msgspec.structs.replace(changed, plan_hash=plan_hash(changed))


def copies(engine: "docker.DockerClient") -> "list[Container]":
    found = engine.containers.list(all=True, filters={"label": f"{NAME_LABEL}={NAME}"})
    return sorted(found, key=lambda container: str(container.labels["io.deployer.copy"]))


def gateway(engine: "docker.DockerClient") -> "Container":
    (found,) = engine.containers.list(all=True, filters={"label": f"{GATEWAY_LABEL}={NAME}"})
    return found


def get(served: Served, path: str, key: str | None = "") -> requests.Response:
    sent = {} if key is None else {"Authorization": f"Bearer {key or served.key}"}
    return requests.get(served.document["base_url"].removesuffix("/v1") + path, headers=sent, timeout=60)


def chat(served: Served, *, tokens: int = 8, path: str = "/v1", messages: Any = STORY, **fields: Any) -> Any:
    base = served.document["base_url"].removesuffix("/v1") + path
    words = {"model": NAME, "messages": messages, "max_tokens": tokens, "temperature": 0}
    with openai.OpenAI(base_url=base, api_key=served.key, max_retries=0, timeout=480) as client:
        return client.chat.completions.create(**words, extra_body=fields)


def generated(served: Served) -> list[float]:
    """Tokens that each copy has made since it started, by its own metrics."""
    return told(served, "llamacpp:tokens_pred")


def told(served: Served, metric: str) -> list[float]:
    """What each copy says of itself by one of its own metrics."""
    pages = [get(served, f"/copies/{number}/metrics").text for number in (1, 2)]
    lines = [next(line for line in page.splitlines() if line.startswith(metric)) for page in pages]
    return [float(line.split()[-1]) for line in lines]


def status(served: Served) -> dict[str, Any]:
    row: dict[str, Any] = served.run("status")["deployments"][0]
    return row


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_up_proves_every_copy_and_measures_them_together(served: Served) -> None:
    health = {check["name"]: check for check in served.document["health"]["checks"]}
    assert {"ready", "model", "key", "answer", "long prompt", "copy 1", "copy 2", "hold"} <= set(health)
    (row,) = served.document["measured"]
    weights = row["parts"]["weights"]
    assert row["measured_mib"] > weights
    assert weights >= 2 * 80  # of each copy
    assert (status(served)["status"], status(served)["answers"]) == ("running", True)


def test_one_address_one_name_and_one_key(served: Served) -> None:
    assert [model["id"] for model in get(served, "/v1/models").json()["data"]] == [NAME]
    assert "Paris" in served.ask()
    for path in ("/v1/models", "/copies/1/v1/models", "/metrics", "/copies/2/metrics", "/copies/3/health"):
        for key in (None, "wrong", served.key + "x"):
            assert get(served, path, key).status_code in ({401, 404} if "/3/" in path else {401}), path
    assert get(served, "/health", None).status_code == 200
    assert get(served, "/copies/2/health", None).status_code == 200


NOWHERE = ("/slots", "/copies", "/copies/", "/copies/1", "/copies/3/v1/models", "/copies/x/props", "/copies/01/props")
UPWARDS = ("/copies/1/copies/2/v1/models", "/copies/1/../../slots", "//copies/1/v1/models")


@pytest.mark.parametrize("path", [*NOWHERE, *UPWARDS])
def test_what_is_not_let_through_is_404(served: Served, path: str) -> None:
    request = requests.Request("GET", served.document["base_url"], headers={"Authorization": f"Bearer {served.key}"})
    prepared = request.prepare()
    prepared.url = served.document["base_url"].removesuffix("/v1") + path
    with requests.Session() as session:
        assert session.send(prepared, timeout=60).status_code == 404


def test_requests_at_once_reach_both_copies(served: Served) -> None:
    before = generated(served)
    with ThreadPoolExecutor(SLOTS) as pool:
        answers = list(pool.map(lambda _: chat(served, tokens=24), range(SLOTS)))
    made = [after - was for after, was in zip(generated(served), before, strict=True)]
    assert sum(made) == sum(answer.usage.completion_tokens for answer in answers)
    assert made[0] == pytest.approx(made[1], abs=30)
    assert min(made) > 0


def test_one_who_wants_the_same_copy_again_finds_its_prompt_there(served: Served) -> None:
    words: Any = [{"role": "user", "content": "Here are some words. " + "lighthouse harbour " * 60}]
    first = chat(served, path="/copies/2/v1", messages=words)
    again = chat(served, path="/copies/2/v1", messages=words)
    assert first.usage.prompt_tokens > 100
    assert (again.usage.prompt_tokens_details.cached_tokens or 0) > 0.8 * first.usage.prompt_tokens


def test_more_than_there_are_slots_wait_in_the_gateway_and_can_be_looked_past(served: Served) -> None:
    with ThreadPoolExecutor(2 * SLOTS) as pool:
        answers = [pool.submit(chat, served, tokens=200) for _ in range(2 * SLOTS)]
        seen: list[float] = []
        while not all(answer.done() for answer in answers):
            waiting = queued(served)
            assert get(served, "/v1/models").status_code == 200
            seen.append(min(waiting, queued(served)))
            time.sleep(0.1)
        assert all(answer.result().usage.completion_tokens for answer in answers)
    assert max(seen) > 0  # others waited before and after it: it does not wait behind answers
    until(lambda: queued(served) == 0)


def queued(served: Served) -> float:
    """Requests that wait in the gateway."""
    page = get(served, "/metrics").text
    return float(next(line for line in page.splitlines() if line.startswith(METRICS)).split()[-1])


def test_the_watch_adds_up_what_the_copies_say(served: Served) -> None:
    live = status(served)["live"]
    assert live["generated_tokens"] == pytest.approx(sum(generated(served)))
    assert (live["requests_running"], live["requests_waiting"]) == (0, 0)
    assert live["memory_mib"]["host"] > 150
    assert live["why"] is None


def test_logs_are_of_both_copies_and_say_whose(served: Served) -> None:
    lines = served.deployer("logs", NAME, "--tail", "4000").ok().stdout.splitlines()
    marks = [line.partition(": ")[0] for line in lines]
    assert set(marks) == {"copy 1", "copy 2"}
    loaded = [mark for mark, line in zip(marks, lines, strict=True) if "model loaded" in line]
    assert sorted(loaded) == ["copy 1", "copy 2"]
    assert sum(one != other for one, other in itertools.pairwise(marks)) > 1  # by time, and not one after the other


def test_a_log_that_is_followed_is_of_both_until_ctrl_c(served: Served) -> None:
    follower = served.deployer.start("logs", NAME, "--follow", "--tail", "1")
    assert follower.stdout is not None
    with ThreadPoolExecutor(SLOTS) as pool:
        assert all(answer.choices for answer in pool.map(lambda _: chat(served), range(SLOTS)))
        both = pool.submit(first_marks, follower.stdout)
        until(both.done)
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=60)
    assert both.result() == {"copy 1", "copy 2"}


def first_marks(lines: IO[str]) -> set[str]:
    """Whose lines come, until they are of two; fewer only when there are no more lines."""
    marks: set[str] = set()
    for line in lines:
        marks.add(line.partition(": ")[0])
        if len(marks) == COPIES:
            break
    return marks


def test_the_copies_are_shut_in_and_the_key_is_nowhere(served: Served, docker_engine: "docker.DockerClient") -> None:
    both, front = copies(docker_engine), gateway(docker_engine)
    assert [container.labels["io.deployer.copy"] for container in both] == ["1/2", "2/2"]
    for container in both:
        assert not container.attrs["HostConfig"]["PortBindings"]
        assert list(container.attrs["NetworkSettings"]["Networks"]) == [f"deployer-{NAME}_engine"]
        assert container.attrs["HostConfig"]["ReadonlyRootfs"] is True
    everything = arguments_of_all_processes() + str([item.attrs for item in (*both, front)]) + served.files()
    assert served.key not in everything


def test_up_again_changes_nothing(served: Served) -> None:
    assert served.run("up", *served.asked, "--yes")["changed"] is False


def test_a_copy_that_crashes_is_started_again_and_the_other_serves(
    served: Served, docker_engine: "docker.DockerClient"
) -> None:
    """All slots are taken when it does: who comes then waits, also while it loads the model again and answers 503."""
    process = engine_process(copies(docker_engine)[1])
    with ThreadPoolExecutor(3 * SLOTS) as pool:
        taken = [pool.submit(chat, served, tokens=600, ignore_eos=True) for _ in range(SLOTS)]
        until(lambda: sum(told(served, "llamacpp:requests_processing")) == SLOTS)
        os.kill(process, signal.SIGKILL)
        until(lambda: ended(process))  # what it still accepts while it dies is never sent again: a 502
        later = [pool.submit(chat, served) for _ in range(2 * SLOTS)]
        assert all(answer.result().usage.completion_tokens for answer in later)
        cut = [error for answer in taken if (error := answer.exception()) is not None]
    assert len(cut) <= SLOTS // COPIES
    assert all(isinstance(error, openai.InternalServerError) for error in cut)
    until(lambda: status(served)["restarts"] == 1 and get(served, "/copies/2/health").status_code == 200)
    assert status(served)["status"] == "running"


def engine_process(container: "Container") -> int:
    """llama-server itself, below the small init of its container."""
    container.reload()
    init = int(container.attrs["State"]["Pid"])
    return int(Path(f"/proc/{init}/task/{init}/children").read_text().split()[0])


def ended(process: int) -> bool:
    """Whether all its connections are closed: it is gone, or nobody has read its exit code yet."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] == "Z"
    return True


def test_a_copy_that_stays_away_is_said_and_up_brings_it_back(
    served: Served, docker_engine: "docker.DockerClient"
) -> None:
    copies(docker_engine)[1].stop(timeout=1)
    row = status(served)
    assert (row["status"], row["detail"], row["answers"]) == ("degraded", "copy 2 of 2 does not run", True)
    assert all(chat(served).usage.completion_tokens for _ in range(4))
    assert get(served, "/copies/2/v1/models").status_code == 503
    assert "degraded: copy 2 of 2 does not run" in served.deployer("status").ok().stdout
    assert served.run("up", *served.asked, "--yes")["changed"] is True
    assert (status(served)["status"], len(copies(docker_engine))) == ("running", COPIES)


def test_one_that_is_gone_is_missed(served: Served, docker_engine: "docker.DockerClient") -> None:
    copies(docker_engine)[0].remove(force=True)
    assert (status(served)["status"], status(served)["detail"]) == ("degraded", "copy 1 of 2 does not run")
    assert chat(served).usage.completion_tokens
    assert served.run("rollback", NAME, "--yes")["changed"] is True
    assert status(served)["status"] == "running"


def test_down_removes_everything_and_up_serves_again(served: Served, docker_engine: "docker.DockerClient") -> None:
    ids = {container.id for container in (*copies(docker_engine), gateway(docker_engine))}
    assert len(ids) == COPIES + 1
    assert served.run("down", NAME, "--yes")["changed"] is True
    assert not ids & {container.id for container in docker_engine.containers.list(all=True)}
    assert not docker_engine.networks.list(names=[f"deployer-{NAME}_"])
    assert served.run("up", *served.asked, "--yes")["changed"] is True
    assert "Paris" in served.ask()


def test_a_copy_that_does_not_start_is_a_failed_start_with_its_reason(
    served: Served, docker_engine: "docker.DockerClient"
) -> None:
    file = Path(served.asked[0])
    plan = msgspec.json.decode(file.read_bytes(), type=Plan)
    words = ["--no-such-flag" if word == "--metrics" else word for word in plan.command]
    broken = msgspec.structs.replace(plan, command=tuple(words))
    other = file.with_name("broken.json")
    other.write_bytes(msgspec.json.encode(msgspec.structs.replace(broken, plan_hash=plan_hash(broken))))
    failed = served.deployer("up", str(other), "--yes", "--json", timeout_s=UP_LIMIT_S).exited(7).json()
    assert "no-such-flag" in str(failed["error"]["details"]["log_tail"])
    assert len(copies(docker_engine)) == COPIES
    assert "Paris" in served.ask()
    with contextlib.suppress(FileNotFoundError):
        other.unlink()
