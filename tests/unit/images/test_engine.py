import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import BadInputError, ImageUnavailableError, PreconditionError
from deployer.images import EngineSettings, check_space, engine_settings, free_mib, inspect_image


def test_an_image_is_described(fake_engine: Any) -> None:
    image_id = fake_engine.add("app:v1", digests=("app@sha256:" + "a" * 64,))
    found = inspect_image("app:v1")
    assert found is not None
    assert (found.id, found.size_mib, found.architecture) == (image_id, 5, "amd64")
    assert found.digests == ("app@sha256:" + "a" * 64,)
    assert (found.cuda, found.environment, found.labels) == ("12.8.1", {"CUDA_VERSION": "12.8.1"}, {})
    assert inspect_image(image_id) == found
    assert inspect_image("absent:v1") is None


def test_an_image_that_was_pushed_elsewhere_still_comes_from_no_registry_by_its_own_name(fake_engine: Any) -> None:
    fake_engine.add("app:v1", digests=("127.0.0.1:5000/copy@sha256:" + "a" * 64,))
    found = inspect_image("app:v1")
    assert found is not None
    assert found.origin("app:v1") == "here"
    assert found.origin("127.0.0.1:5000/copy:v2") == "registry"


def test_a_name_that_the_engine_cannot_read(fake_engine: Any) -> None:
    with pytest.raises(BadInputError):
        inspect_image("BAD")


def test_an_engine_that_breaks_is_a_precondition(fake_engine: Any) -> None:
    fake_engine.broken = True
    with pytest.raises(PreconditionError, match="it broke"):
        inspect_image("app:v1")


def test_no_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(PreconditionError, match="nothing is there") as caught:
        inspect_image("app:v1")
    assert "systemctl start docker" in caught.value.hint
    assert caught.value.exit_code == 3


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/dead.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
    with pytest.raises(PreconditionError, match="does not answer"):
        engine_settings()


AS_NOBODY = """
import os, sys
from deployer.errors import PreconditionError
from deployer.images import inspect_image
def ask(path):
    os.environ["DOCKER_HOST"] = f"unix://{path}"
    try:
        inspect_image("app:v1")
    except PreconditionError as error:
        return error.message, error.hint
ask("/no/such/socket")  # loads the libraries while they can be read
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
print(*ask(sys.argv[1]))
"""


def test_a_socket_that_may_not_be_used() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        Path(folder).chmod(0o755)
        path = Path(folder) / "docker.sock"
        server.bind(str(path))
        path.chmod(0)
        server.listen()
        argv = [sys.executable, "-c", AS_NOBODY, str(path)]
        environment = {**os.environ, "DOCKER_CONFIG": folder, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run(argv, check=False, env=environment, capture_output=True, text=True, timeout=120)
    assert "this user may not use it" in done.stdout, done.stderr
    assert "sudo" in done.stdout


def test_settings_of_the_engine(fake_engine: Any) -> None:
    fake_engine.info |= {
        "HttpsProxy": "http://proxy:3128",
        "NoProxy": "local",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {"mine:5000": {"Secure": False}, "docker.io": {"Secure": True}},
            "Mirrors": ["https://mirror/"],
        },
    }
    found = engine_settings()
    assert found.insecure == ("mine:5000", "127.0.0.0/8")
    assert found.mirrors == ("https://mirror",)
    assert (found.proxies, found.no_proxy) == ({"https": "http://proxy:3128"}, "local")
    assert (found.architecture, found.root, found.remote) == ("amd64", "/", False)


def test_images_of_the_containerd_store_are_elsewhere(fake_engine: Any) -> None:
    fake_engine.info["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
    assert engine_settings().root == "/var/lib/containerd"


def test_space_is_checked_before_a_download(fake_engine: Any) -> None:
    free = free_mib(engine_settings())
    assert free is not None
    check_space(0, reserve_mib=0)
    with pytest.raises(ImageUnavailableError, match="MiB free") as caught:
        check_space(free + 10_000)
    assert caught.value.details["cause"] == "no-space"
    assert "docker system df" in caught.value.hint


def test_space_that_nobody_can_see_refuses_nothing() -> None:
    for settings in (EngineSettings(root="/", remote=True), EngineSettings(), EngineSettings(root="/no/such/folder")):
        assert free_mib(settings) is None
        check_space(10**9, settings)
