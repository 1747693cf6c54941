"""What the decision of a plan becomes in the compose file."""

from typing import Any

import msgspec
import pytest
import yaml

from deployer.errors import BadInputError
from deployer.render import render
from deployer.types import Limits, Plan, PlanDevice
from tests.unit.render import plans


def document(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(render(plan).files["compose.yaml"])
    return found


def service(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = document(plan)["services"]["llm"]
    return found


def with_model(**changes: Any) -> Plan:
    plan = plans.plan()
    return msgspec.structs.replace(plan, model=msgspec.structs.replace(plan.model, **changes))


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("ghcr.io/ggml-org/llama.cpp:server-b11434", f"ghcr.io/ggml-org/llama.cpp@{plans.DIGEST}"),
        ("127.0.0.1:5000/llama.cpp:sid", f"127.0.0.1:5000/llama.cpp@{plans.DIGEST}"),
        ("127.0.0.1:5000/llama.cpp", f"127.0.0.1:5000/llama.cpp@{plans.DIGEST}"),
        (f"ghcr.io/a/b@{plans.DIGEST}", f"ghcr.io/a/b@{plans.DIGEST}"),
        (f"ghcr.io/a/b:tag@{plans.DIGEST}", f"ghcr.io/a/b@{plans.DIGEST}"),
    ],
)
def test_a_digest_replaces_the_tag(reference: str, expected: str) -> None:
    assert service(plans.plan(image=plans.image("server", reference=reference)))["image"] == expected


def test_an_image_without_digest_is_named_by_its_local_id() -> None:
    image = plans.image("server", digest=None, image_id=plans.IMAGE_ID)

    assert service(plans.plan(image=image))["image"] == plans.IMAGE_ID


def test_an_image_that_is_not_here_yet_is_named_and_the_file_says_so() -> None:
    text = render(plans.plan(image=plans.image("server", digest=None, image_id=None))).files["compose.yaml"]

    assert 'image: "ghcr.io/ggml-org/llama.cpp:server-b11434"' in text
    assert "`deployer up` fetches or builds it" in text


def test_an_image_to_build_has_the_tag_that_the_build_gives_it() -> None:
    assert service(plans.built())["image"] == "deployer/llama.cpp:cuda-source"


def test_a_local_program_is_no_container() -> None:
    with pytest.raises(BadInputError, match="local program"):
        render(msgspec.structs.replace(plans.process(), runtime="compose"))


def test_the_whole_command_is_in_the_file() -> None:
    found = service(plans.plan())

    assert (*found["entrypoint"], *found["command"]) == plans.command("qwen")


@pytest.mark.parametrize("runtime", ["compose", "process"])
def test_a_plan_without_a_command_is_refused(runtime: str) -> None:
    with pytest.raises(BadInputError, match="nothing to start"):
        render(plans.plan(command=(), runtime=runtime))


def test_a_runtime_without_renderer_is_refused() -> None:
    with pytest.raises(BadInputError, match="kubernetes"):
        render(plans.plan(runtime="kubernetes"))


def test_a_model_file_is_mounted_alone_and_read_only() -> None:
    assert service(plans.plan())["volumes"] == [
        {
            "type": "bind",
            "source": "/var/lib/deployer/models/qwen2.5-7b/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
            "target": "/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
            "read_only": True,
            "bind": {"create_host_path": False},
        }
    ]


def test_every_part_of_a_split_model_is_mounted() -> None:
    parts = ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf")

    mounts = service(with_model(path=f"/srv/m/{parts[0]}", files=parts))["volumes"]

    assert {mount["target"]: mount["source"] for mount in mounts} == {
        f"/models/{part}": f"/srv/m/{part}" for part in parts
    }


def test_a_projector_is_mounted_beside_the_model() -> None:
    mounts = service(with_model(path="/srv/m/a.gguf", files=("a.gguf",), projector="/srv/p/mmproj-F16.gguf"))["volumes"]

    assert {mount["target"]: mount["source"] for mount in mounts} == {
        "/models/a.gguf": "/srv/m/a.gguf",
        "/models/mmproj-F16.gguf": "/srv/p/mmproj-F16.gguf",
    }
    assert all(mount["read_only"] for mount in mounts)


def test_a_model_folder_is_mounted_as_the_models_folder() -> None:
    mounts = service(with_model(path="/srv/models/qwen/", format="safetensors", files=("a.safetensors",)))["volumes"]

    assert [(mount["source"], mount["target"]) for mount in mounts] == [("/srv/models/qwen", "/models")]


@pytest.mark.parametrize(
    ("address", "port", "warns"),
    [
        ("127.0.0.1", "127.0.0.1:8000:8080", False),
        ("127.0.0.2", "127.0.0.2:8000:8080", False),
        ("::1", "[::1]:8000:8080", False),
        ("192.168.1.7", "192.168.1.7:8000:8080", True),
        ("0.0.0.0", "0.0.0.0:8000:8080", True),
        ("::", "[::]:8000:8080", True),
    ],
)
def test_an_address_that_others_reach_has_a_warning(address: str, port: str, *, warns: bool) -> None:
    text = render(plans.plan(address=address)).files["compose.yaml"]

    assert yaml.safe_load(text)["services"]["llm"]["ports"] == [port]
    assert ("# WARNING: reachable from other machines" in text) is warns


def test_warnings_and_reasons_are_read_first() -> None:
    text = render(plans.plan(warnings=("the tag\nmoved",), reasons=("4 users, so 4 slots",))).files["compose.yaml"]
    header = text.partition("\nname:")[0]

    assert '# WARNING: "the tag\\nmoved"' in header
    assert '# Why: "4 users, so 4 slots"' in header


def test_the_plan_has_the_last_word_on_the_environment() -> None:
    found = service(plans.plan(environment={"HOME": "/srv", "HF_HUB_OFFLINE": "0"}))["environment"]

    assert found == {"DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "0", "HOME": "/srv", "TRANSFORMERS_OFFLINE": "1"}


def test_unknown_ceilings_are_left_out() -> None:
    found = service(plans.plan(limits=Limits(memory_mib=None, pids=512, cpus=None)))

    assert not {"mem_limit", "memswap_limit", "cpus"} & set(found)
    assert found["pids_limit"] == 512


def test_memory_has_no_swap_beyond_it() -> None:
    found = service(plans.plan(limits=Limits(memory_mib=6000, pids=512, cpus=3)))

    assert (found["mem_limit"], found["memswap_limit"], found["cpus"]) == ("6000m", "6000m", 3)


def test_failures_do_not_count_while_the_model_loads() -> None:
    found = service(plans.plan(start_period_s=1234, container_port=9999))["healthcheck"]

    assert found["start_period"] == "1234s"
    assert found["start_interval"] == "2s"
    assert service(plans.plan(start_period_s=120))["healthcheck"]["start_interval"] == "200ms"
    assert found["test"][:2] == ["CMD", "curl"]
    assert found["test"][-1] == "http://127.0.0.1:9999/health"


def test_docker_can_be_asked_for_it_by_label() -> None:
    assert service(plans.plan())["labels"] == {
        "io.deployer.name": "qwen",
        "io.deployer.plan": "5b1c" * 16,
        "io.deployer.version": "1.2.3",
    }


def test_the_key_is_a_file_and_never_a_value() -> None:
    found = document(plans.plan(key_file="/srv/keys/api_key"))

    assert found["secrets"] == {"api_key": {"file": "/srv/keys/api_key"}}


def test_root_of_a_rootless_engine_is_explained() -> None:
    text = render(plans.plan(container_user="0:0")).files["compose.yaml"]

    assert "rootless" in text
    assert "rootless" not in render(plans.plan()).files["compose.yaml"]


def test_nvidia_gpus_are_named_by_uuid() -> None:
    found = service(plans.targets()["p40-two"])

    assert found["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": [device.uuid for device in plans.P40S], "capabilities": ["gpu"]}
    ]
    assert found["environment"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "devices" not in found


def test_an_nvidia_gpu_without_uuid_is_refused() -> None:
    with pytest.raises(BadInputError, match="UUID"):
        render(plans.gpu("server-cuda", "cuda", (PlanDevice(index=0, uuid=None, vendor="nvidia"),)))


@pytest.mark.parametrize(
    ("name", "paths", "groups"),
    [
        ("amd-rocm", ["/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"], ["44", "992"]),
        ("intel-sycl", ["/dev/dri:/dev/dri"], ["992"]),
        ("vulkan", ["/dev/dri:/dev/dri"], None),
    ],
)
def test_other_gpus_are_device_files_and_never_the_nvidia_driver(
    name: str, paths: list[str], groups: list[str] | None
) -> None:
    found = service(plans.targets()[name])

    assert found["devices"] == paths
    assert found.get("group_add") == groups
    assert "deploy" not in found
    assert not {"NVIDIA_DRIVER_CAPABILITIES", "CUDA_DEVICE_ORDER"} & set(found["environment"])


def test_vulkan_on_nvidia_asks_the_nvidia_driver_for_graphics() -> None:
    found = service(plans.targets()["vulkan-nvidia"])

    assert found["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"
    assert "graphics" in found["environment"]["NVIDIA_DRIVER_CAPABILITIES"]


def test_a_cuda_image_without_devices_asks_for_none() -> None:
    found = service(plans.gpu("server-cuda", "cuda", ()))

    assert not {"deploy", "devices", "group_add"} & set(found)


def test_what_the_driver_compiles_is_kept_on_a_volume_of_this_deployment() -> None:
    plan = plans.targets()["p40-two"]
    found = document(plan)

    assert found["volumes"] == {"cuda-cache": {}}
    assert found["services"]["llm"]["volumes"][-1] == {"type": "volume", "source": "cuda-cache", "target": "/var/tmp"}
    assert found["services"]["llm"]["environment"]["CUDA_CACHE_PATH"].startswith("/var/tmp/")


def test_an_image_with_machine_code_for_its_gpu_needs_no_cache() -> None:
    found = document(plans.targets()["rtx-4090"])

    assert "volumes" not in found
    assert "CUDA_CACHE_PATH" not in found["services"]["llm"]["environment"]
