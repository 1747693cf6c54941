"""How containers get GPUs: CDI files, NVIDIA's hooks, and the engine that a Docker context names."""

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from deployer.facts import cdi, container, docker_context, injection
from deployer.facts.docker_context import Endpoint
from deployer.facts.docker_socket import Reply
from deployer.types import CdiSpec
from tests.unit.facts.test_container import INFO, engine_at
from tests.unit.facts.trees import lay_out

SOCKET = Reply("unix:///var/run/docker.sock", failure="absent")
UUID = "nvidia.com/gpu=GPU-6b1f9c1e-0f3d-4c52-9a51-3d7f0d1c2a10"


def answers(
    info: Mapping[str, object] | None,
    *,
    api_version: str = "1.52",
    specs: tuple[cdi.File, ...] = (),
    hooks: tuple[str, ...] = (),
    driver: str = "",
    user: int = 0,
) -> container.Answers:
    """An engine that answered with `info` (None: no Docker, but Podman), and the machine around it."""
    reply = SOCKET if info is None else Reply(SOCKET.host, body=json.dumps(info).encode(), api_version=api_version)
    return container.Answers(
        reply, client=False, versions={"podman": "5.4.2"}, hooks=hooks, specs=specs, driver=driver, user=user
    )


def test_podman_rootless_reads_the_users_own_cdi_files(tmp_path: Path) -> None:
    root = lay_out("podman-cdi", tmp_path)
    folders = cdi.folders({"XDG_RUNTIME_DIR": "/run/user/1000"}, Path("/home/user"), rootless=True)
    assert [str(folder) for folder in folders] == [
        "/etc/cdi",
        "/var/run/cdi",
        "/home/user/.config/cdi",
        "/run/user/1000/cdi",
    ]
    facts = container.read(answers(None, specs=cdi.ask(folders, root), user=1000, driver="580.95.05"))
    assert (facts.engine, facts.version, facts.rootless, facts.error) == ("podman", "5.4.2", True, None)
    assert facts.cdi == ("nvidia.com/gpu=0", UUID, "nvidia.com/gpu=all")
    assert facts.cdi_spec_dirs == ("/home/user/.config/cdi",)
    assert facts.nvidia_injection == ("cdi",)
    broken, good = facts.cdi_specs
    assert "is not a CDI specification" in (broken.error or "")
    assert (good.kind, good.driver, good.error) == ("nvidia.com/gpu", "580.95.05", None)


def test_root_looks_only_in_the_systems_folders() -> None:
    assert cdi.folders({"XDG_CONFIG_HOME": "/x"}, Path("/root"), rootless=False) == cdi.SYSTEM_FOLDERS


def test_a_specification_for_another_driver_is_of_no_use(tmp_path: Path) -> None:
    specs = cdi.ask(cdi.SYSTEM_FOLDERS, lay_out("stale-cdi", tmp_path))
    facts = container.read(answers(None, specs=specs, driver="580.95.05"))
    other, stale = facts.cdi_specs
    assert (other.kind, other.devices, other.error) == ("amd.com/gpu", ("0",), None)
    assert (stale.driver, stale.devices) == ("570.86.10", ("0", "all"))
    assert stale.error == (
        "This CDI specification is for driver 570.86.10, but 580.95.05 runs: containers would not start. Make it again "
        "with `sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`."
    )
    assert facts.cdi == ("amd.com/gpu=0",)
    assert facts.nvidia_injection == ()
    assert (facts.rootless, facts.error) == (False, None)


def test_docker_with_a_stale_specification_keeps_only_its_other_ways(tmp_path: Path) -> None:
    specs = cdi.ask(cdi.SYSTEM_FOLDERS, lay_out("stale-cdi", tmp_path))
    facts = container.read(answers(INFO, specs=specs, hooks=("nvidia-cdi-hook",), driver="580.95.05"))
    assert facts.cdi == ("nvidia.com/gpu=0", "nvidia.com/gpu=all")
    assert facts.nvidia_injection == ("runtime",)
    fresh = container.read(answers(INFO, specs=specs, hooks=("nvidia-cdi-hook",), driver="570.86.10"))
    assert fresh.nvidia_injection == ("gpus", "runtime", "cdi")


def test_an_older_docker_does_not_list_devices_so_its_files_do(tmp_path: Path) -> None:
    specs = cdi.ask(cdi.SYSTEM_FOLDERS, lay_out("stale-cdi", tmp_path))
    info = {"ServerVersion": "27.5.1", "CDISpecDirs": ["/etc/cdi"]}
    facts = container.read(answers(info, specs=specs, api_version="1.47"))
    assert facts.cdi == ("amd.com/gpu=0", "nvidia.com/gpu=0", "nvidia.com/gpu=all")


@pytest.mark.parametrize(
    ("version", "hooks", "runtime", "devices", "ways"),
    [
        ("28.5.1", (), True, (), ("runtime",)),
        ("28.5.1", ("nvidia-container-runtime-hook",), True, ("nvidia.com/gpu=0",), ("gpus", "runtime", "cdi")),
        ("28.5.1", ("nvidia-cdi-hook",), False, ("nvidia.com/gpu=0",), ("cdi",)),
        ("29.2.0", ("nvidia-cdi-hook",), False, ("nvidia.com/gpu=0",), ("gpus", "cdi")),
        ("29.2.0", ("nvidia-cdi-hook",), False, ("amd.com/gpu=0",), ()),
        ("29.2.0", ("nvidia-container-runtime-hook",), False, None, ("gpus",)),
        (None, ("nvidia-cdi-hook",), False, ("nvidia.com/gpu=0",), ("cdi",)),
    ],
)
def test_the_ways_of_docker(
    version: str | None, hooks: tuple[str, ...], runtime: bool, devices: tuple[str, ...] | None, ways: tuple[str, ...]
) -> None:
    assert injection.docker_ways(version, hooks=hooks, runtime=runtime, devices=devices) == ways


def test_hooks_are_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = tmp_path / "nvidia-cdi-hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert injection.CDI_HOOK in injection.ask()


@pytest.mark.parametrize(
    "elsewhere",
    [{"OperatingSystem": "Docker Desktop"}, {"DockerRootDir": "/var/snap/docker/common/var-lib-docker"}],
)
def test_an_engine_that_does_not_see_this_machine_tells_nothing_of_injection(elsewhere: dict[str, object]) -> None:
    facts = container.read(answers({**INFO, **elsewhere}, hooks=("nvidia-container-runtime-hook",)))
    assert (facts.engine, facts.nvidia_injection, facts.cdi_specs) == ("docker", None, ())


@pytest.mark.parametrize("text", ["", "[]", "kind: 5", "a: [", "kind: nvidia.com/gpu\ndevices: 7", "- \t- x"])
@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_damaged_files_keep_their_error(text: str, suffix: str) -> None:
    spec = cdi.read(cdi.File(f"/etc/cdi/x.{suffix}", text))
    assert spec.kind is None
    assert "is not a CDI specification" in (spec.error or "")


def test_unknown_drivers_are_not_compared() -> None:
    spec = CdiSpec(path="x", kind="nvidia.com/gpu", driver="580.95.05")
    assert cdi.compare(spec, None) == spec
    assert cdi.compare(CdiSpec(path="x", kind="nvidia.com/gpu"), "580.95.05").error is None


def write_context(folder: Path, name: str, host: str, *, tls: bool = False) -> None:
    digest = sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / digest
    meta.mkdir(parents=True)
    document = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (meta / "meta.json").write_text(json.dumps(document))
    if tls:
        (folder / "contexts/tls" / digest / "docker").mkdir(parents=True)


def test_where_the_command_line_would_connect(tmp_path: Path) -> None:
    folder = tmp_path / ".docker"
    write_context(folder, "rootless", "unix:///run/user/1000/docker.sock")
    write_context(folder, "far", "tcp://10.0.0.5:2376", tls=True)
    assert docker_context.ask({}, tmp_path) == Endpoint("unix:///var/run/docker.sock")
    (folder / "config.json").write_text('{"auths": {}, "currentContext": "rootless"}')
    assert docker_context.ask({}, tmp_path) == Endpoint("unix:///run/user/1000/docker.sock", "rootless")
    assert docker_context.ask({"DOCKER_CONTEXT": "default"}, tmp_path) == Endpoint("unix:///var/run/docker.sock")
    far = docker_context.ask({"DOCKER_CONTEXT": "far"}, tmp_path)
    assert (far.host, far.certificates is not None) == ("tcp://10.0.0.5:2376", True)
    assert docker_context.ask({"DOCKER_HOST": "tcp://x", "DOCKER_CONTEXT": "far"}, tmp_path) == Endpoint("tcp://x")
    assert docker_context.ask({"DOCKER_CONTEXT": "gone"}, tmp_path) == Endpoint(None, "gone")
    assert docker_context.ask({"DOCKER_CONFIG": str(folder)}, Path("/")).context == "rootless"
    (folder / "config.json").write_text("{")
    assert docker_context.ask({}, tmp_path) == Endpoint("unix:///var/run/docker.sock")


@pytest.fixture
def client_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "client"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "client"


def test_the_engine_of_the_context_is_asked(
    client_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "e.sock"
    write_context(client_folder, "own", f"unix://{path}")
    monkeypatch.setenv("DOCKER_CONTEXT", "own")
    with engine_at(path, INFO):
        facts = container.probe()
    assert (facts.version, facts.context, facts.endpoint) == ("29.2.1", "own", f"unix://{path}")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (None, "The Docker context own does not exist or names no engine: run `docker context ls`"),
        ("npipe:////./pipe/x", "The address of the Docker context own is npipe:////./pipe/x, but the address must"),
        ("tcp://127.0.0.1:1", "The Docker Engine at tcp://127.0.0.1:1 does not answer"),
    ],
)
def test_a_context_that_leads_nowhere(
    client_folder: Path, monkeypatch: pytest.MonkeyPatch, host: str | None, words: str
) -> None:
    if host is not None:
        write_context(client_folder, "own", host, tls=host.startswith("tcp"))
    monkeypatch.setenv("DOCKER_CONTEXT", "own")
    facts = container.probe(timeout_s=30)
    assert facts.context == "own"
    assert words in (facts.error or "")


def test_a_user_without_a_folder(client_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(cls: type[Path]) -> Path:
        raise RuntimeError(cls)

    monkeypatch.setattr(Path, "home", classmethod(homeless))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{client_folder}/none.sock")
    assert os.environ["DOCKER_CONFIG"]
    assert container.probe().error is not None
