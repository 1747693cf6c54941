"""What cannot stand in a file is refused, by name."""

from typing import Any

import msgspec
import pytest

from deployer.errors import BadInputError
from deployer.render import render
from deployer.types import Health, Plan, PlanDevice
from tests.unit.render import plans

CONTROLS = ("\n", "\x00", "\x1b[2J", "\x7f", "\x85", "\ud800")


def names(plan: Plan, field: str) -> bool:
    """Whether a plan is refused with a message that names the field; what it says is safe to show."""
    with pytest.raises(BadInputError) as caught:
        render(plan)
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()
    assert caught.value.hint
    return caught.value.message.startswith(f"plan: {field}")


def with_model(**changes: Any) -> Plan:
    plan = plans.plan()
    return msgspec.structs.replace(plan, model=msgspec.structs.replace(plan.model, **changes))


def with_image(**changes: Any) -> Plan:
    return plans.plan(image=plans.image("server", **changes))


@pytest.mark.parametrize("name", ["", "Qwen", "a.b", "-rf", "a b", "a/b", "a\n", "${X}", "é", "a" * 64, "$$"])
def test_a_name_that_compose_does_not_take(name: str) -> None:
    assert names(plans.plan(name=name), "name")


@pytest.mark.parametrize("path", ["", "/", "//", "a.gguf", "~/a.gguf", "./a", "/srv/../etc/shadow", "C:\\a"])
def test_a_path_that_is_not_absolute(path: str) -> None:
    assert names(with_model(path=path), "model.path")
    assert names(with_model(projector=path), "model.projector")
    assert names(plans.plan(key_file=path), "key_file")


@pytest.mark.parametrize("control", CONTROLS)
def test_control_characters_in_names(control: str) -> None:
    assert names(with_model(path=f"/srv/a{control}.gguf"), "model.path")
    assert names(with_model(projector=f"/srv/a{control}.gguf"), "model.projector")
    assert names(with_model(ref=f"hf:a{control}"), "model.ref")
    assert names(with_model(quantization=f"Q4{control}"), "model.quantization")
    assert names(with_model(files=(f"a{control}.gguf",)), "model.files")
    assert names(plans.plan(key_file=f"/srv/{control}"), "key_file")
    assert names(plans.plan(devices=(PlanDevice(index=0, uuid=None, name=control),)), "devices.name")


@pytest.mark.parametrize("control", CONTROLS[1:])
def test_control_characters_in_words(control: str) -> None:
    assert names(plans.plan(command=("server", control)), "command")
    assert names(plans.plan(environment={"A": control}), "environment")
    assert names(msgspec.structs.replace(plans.process(), command=("server", control)), "command")


@pytest.mark.parametrize("file", ["..", "a/..", ".", ""])
def test_a_part_of_a_model_that_is_no_file(file: str) -> None:
    assert names(with_model(files=("a.gguf", file)), "model.files")


@pytest.mark.parametrize("key", ["", "A B", "A=B", "1A", "A-B", "A\n", "$A"])
def test_a_variable_name_that_no_shell_takes(key: str) -> None:
    assert names(plans.plan(environment={key: "1"}), "environment")


@pytest.mark.parametrize("uuid", ["all", "none", "0", "GPU-", "GPU-1,GPU-2", "nvidia.com/gpu=all", 'GPU-1"'])
def test_a_device_that_is_not_one_gpu(uuid: str) -> None:
    assert names(plans.plan(devices=(PlanDevice(index=0, uuid=uuid),)), "devices.uuid")


@pytest.mark.parametrize("address", ["", "localhost", "0", "127.0.0.1:80", "127.0.0.1\n", "256.0.0.1"])
def test_an_address_that_is_no_address(address: str) -> None:
    assert names(plans.plan(address=address), "address")
    assert names(msgspec.structs.replace(plans.process(), address=address), "address")


@pytest.mark.parametrize("port", [-1, 0, 65536])
def test_a_port_that_is_no_port(port: int) -> None:
    assert names(plans.plan(port=port), "port")
    assert names(plans.plan(container_port=port), "container_port")


@pytest.mark.parametrize("user", ["root", "0", "65532", "65532:", "0:0:0", "a:b", "-1:0"])
def test_a_user_that_is_no_pair_of_numbers(user: str) -> None:
    assert names(plans.plan(container_user=user), "container_user")


def test_images_that_are_no_images() -> None:
    assert names(with_image(digest="latest"), "image")
    assert names(with_image(digest=None, image_id="sha256:zz"), "image")
    assert names(with_image(reference="UPPER/case"), "image.reference")
    assert names(with_image(reference="a b"), "image.reference")
    assert names(with_image(reference="a:b\n"), "image.reference")


def test_a_health_path_that_is_no_path() -> None:
    assert names(plans.plan(health=Health(path="@evil.example/")), "health.path")


def test_words_that_name_an_engine_or_a_plan() -> None:
    assert names(plans.plan(engine="a\nb"), "engine")
    assert names(plans.plan(plan_hash="x\n# y"), "plan_hash")
    assert names(plans.plan(image=plans.image("a\nb")), "image.profile")


@pytest.mark.parametrize("path", ["", "/", "key.yaml", "/srv/../etc/shadow"])
def test_a_key_file_of_settings_that_is_not_absolute(path: str) -> None:
    assert names(plans.plan(key_config=path), "key_config")


@pytest.mark.parametrize("folder", ["", "/", "tmp", "/tmp:exec", "/a/../b", "/a b"])
def test_a_writable_folder_that_could_say_more(folder: str) -> None:
    assert names(plans.plan(writable=(folder,)), "writable")


def test_what_a_container_is_given_is_of_its_kind() -> None:
    assert names(plans.plan(shm_mib=0), "shm_mib")
    assert names(plans.plan(ulimits={"mem lock": 1}), "ulimits")
    assert names(plans.plan(key_variable="A-B"), "key_variable")
    assert names(plans.plan(launcher=("python3\x00",)), "launcher")
