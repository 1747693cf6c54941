"""HAProxy itself reads every golden configuration of a gateway, and refuses one with a line that it does not know."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "launches").glob("*.cfg"))


def checked(image: str, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `haproxy -c` says of a configuration, with the files that it names in their places."""
    (folder / "haproxy.cfg").write_text(text)
    (folder / "api_key").write_text("sk-golden\n")
    mounts = {"haproxy.cfg": "/usr/local/etc/haproxy/haproxy.cfg", "api_key": "/run/secrets/api_key"}
    words = [word for name, target in mounts.items() for word in ("--volume", f"{folder / name}:{target}:ro")]
    argv = ["docker", "run", "--rm", "--network", "none", "--read-only", *words, "--entrypoint", "haproxy", image]
    return subprocess.run(
        [*argv, "-c", "-V", "-f", mounts["haproxy.cfg"]], capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_every_golden_is_valid_without_a_warning(path: Path, gateway_image: str, deployer_home: Path) -> None:
    found = checked(gateway_image, path.read_text(), deployer_home)
    assert found.returncode == 0, found.stderr
    assert "WARNING" not in found.stderr + found.stdout


def test_there_is_one_for_every_engine_behind_a_gateway() -> None:
    assert [path.stem for path in GOLDEN] == ["llama.cpp", "lm-studio", "ollama", "tensorrt-llm", "tgi", "vllm"]


def test_a_broken_one_is_refused(gateway_image: str, deployer_home: Path) -> None:
    broken = GOLDEN[0].read_text().replace("acl has_key http_auth_bearer", "acl has_key no_such_fetch")
    assert checked(gateway_image, broken, deployer_home).returncode != 0
