"""One golden for each kind of target: what a reviewer would read, held to linters and to the list of security keys."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from deployer import execution
from deployer.render import render
from tests.unit.render import plans

GOLDEN = Path(__file__).parents[2] / "golden"
TARGETS = plans.targets()
BUILT = sorted(name for name, plan in TARGETS.items() if plan.image.source == "build")
# Content addresses that the linter takes for tags, images before they are pinned, what the plan asked for aloud, and
# scratch space from which compiled kernels are loaded.
EXPECTED_FINDINGS = {
    "cpu-debian": {"CL-0019"},
    "cuda-source": {"CL-0019"},
    "debian-build": {"CL-0019"},
    "exposed": {"CL-0005"},
    "vllm-copies": {"CL-0022"},
}
FORBIDDEN = {"privileged", "network_mode", "pid", "ipc", "uts", "userns_mode", "cap_add", "env_file", "gpus", "build"}

Golden = Callable[[str, str], SnapshotAssertion]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_compose_golden(name: str, golden: Golden) -> None:
    assert render(TARGETS[name]).files["compose.yaml"] == golden(name, "compose.yaml")


@pytest.mark.parametrize("name", BUILT)
def test_dockerfile_golden(name: str, golden: Golden) -> None:
    assert render(TARGETS[name]).files["Dockerfile"] == golden(name, "Dockerfile")


def test_process_golden(golden: Golden) -> None:
    bundle = render(plans.process())

    assert bundle.files["process.json"] == golden("process", "process.json")
    assert set(bundle.files) == {"process.json"}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_equal_plans_give_equal_bytes(name: str) -> None:
    assert render(plans.targets()[name]) == render(plans.targets()[name])


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_only_an_image_to_build_comes_with_a_dockerfile(name: str) -> None:
    expected = {"compose.yaml", "Dockerfile"} if name in BUILT else {"compose.yaml"}

    assert set(render(TARGETS[name]).files) == expected


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_compose_lint_finds_nothing_unexplained(name: str) -> None:
    found = execution.run(
        [
            sys.executable,
            "-m",
            "compose_lint",
            "check",
            "--format",
            "json",
            "--fail-on",
            "low",
            f"{GOLDEN / name}.yaml",
        ],
        timeout_s=60,
        cwd=GOLDEN,
    )
    rules = {finding["rule_id"] for finding in json.loads(found.stdout)["findings"]}

    assert rules == EXPECTED_FINDINGS.get(name, set()), found.stdout


@pytest.mark.parametrize("name", BUILT)
def test_hadolint_finds_nothing(name: str) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None

    found = execution.run([hadolint, "--no-color", str(GOLDEN / f"{name}.Dockerfile")], timeout_s=60)

    assert (found.returncode, found.stdout) == (0, "")


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_every_target_carries_the_same_security_keys(name: str) -> None:
    document = written(name)
    service = document["services"]["llm"]

    assert list(document["services"]) == ["llm"]
    assert not FORBIDDEN & set(service)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "65532:65532"
    assert service["pull_policy"] == "never"
    assert service["restart"] == "on-failure:3"
    assert service["secrets"] == ["api_key"]
    assert service["networks"] == ["llm"]
    assert document["networks"] == {"llm": {"driver": "bridge"}}
    assert service["logging"]["options"] == {"max-size": "20m", "max-file": "5"}
    assert service["mem_limit"] == service["memswap_limit"]
    assert {"pids_limit", "cpus", "healthcheck", "tmpfs"} <= set(service)
    assert len(service["ports"]) == 1
    assert all(mount["read_only"] is True for mount in service["volumes"] if mount["type"] == "bind")
    assert "docker.sock" not in json.dumps(document)


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"exposed"}))
def test_the_port_is_published_on_loopback_only(name: str) -> None:
    assert written(name)["services"]["llm"]["ports"] == ["127.0.0.1:8000:8080"]


def written(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
    return document
