"""From settings to argv, and what a user may not add."""

import msgspec
import pytest

from deployer.decide.command import forbidden_name
from deployer.errors import BadInputError, ProfileError
from deployer.types import Flag, Knowledge
from tests.unit.decide.hosts import gpu, host, knowledge, plan, sample

replace = msgspec.structs.replace
ENGINE = next(engine for engine in knowledge().engines if engine.engine == "llama.cpp")


def with_flags(*flags: Flag) -> Knowledge:
    return replace(knowledge(), engines=(replace(ENGINE, flags=flags),))


def test_the_whole_command_in_the_order_of_the_profile() -> None:
    found = plan(sample("p40x2-580"), "qwen2.5-7b-instruct", users=4, context=5000, quantization="Q4_K_M")
    assert found.command == (
        "/app/llama-server",
        "--model", "/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
        "--alias", "demo",
        "--host", "0.0.0.0",
        "--port", "8080",
        "--api-key-file", "/run/secrets/api_key",
        "--ctx-size", "20480",
        "--parallel", "4",
        "--threads", "28",
        "--batch-size", "2048",
        "--ubatch-size", "512",
        "--n-gpu-layers", "29",
        "--device", "CUDA0",
        "--cache-type-k", "f16",
        "--cache-type-v", "f16",
        "--flash-attn", "auto",
        "--fit", "off",
        "--cache-ram", "7936",
        "--metrics",
        "--offline",
        "--no-ui",
        "--jinja",
        "--log-verbosity", "4",
    )  # fmt: skip


def test_a_program_sees_paths_of_the_host_and_no_gpu() -> None:
    where = replace(sample("cpu-avx512"), programs={"llama-server": "/usr/bin/llama-server"})
    found = plan(where, "qwen2.5-0.5b-instruct", runtime="process", image="llama-server", address="127.0.0.2")
    words = found.command
    assert words[words.index("--host") + 1] == "127.0.0.2"
    assert words[words.index("--port") + 1] == "8000"
    assert words[words.index("--device") + 1] == "none"
    assert found.container_port == 8000


def test_a_vulkan_image_names_vulkan_devices() -> None:
    where = host(gpu(0, "Tesla P40", "6.1", 24576), gpu(1, "Tesla P40", "6.1", 24576))
    found = plan(where, "llama-3.3-70b-instruct", image="server-vulkan")
    assert found.command[found.command.index("--device") + 1] == "Vulkan0,Vulkan1"


def test_a_setting_without_a_flag_is_a_broken_profile() -> None:
    short = tuple(flag for flag in ENGINE.flags if flag.setting != "devices")
    with pytest.raises(ProfileError, match="no flag for devices"):
        plan(sample("p40x2-580"), known=with_flags(*short))


def test_a_flag_for_an_unknown_setting_is_a_broken_profile() -> None:
    with pytest.raises(ProfileError, match="colour: not a setting"):
        plan(sample("p40x2-580"), known=with_flags(*ENGINE.flags, Flag(setting="colour", flag="--colour")))


def test_a_fixed_value_is_written_as_it_is() -> None:
    extra = Flag(setting="numa_mode", flag="--numa", value="distribute")
    found = plan(sample("p40x2-580"), known=with_flags(*ENGINE.flags, extra))
    assert found.command[-2:] == ("--numa", "distribute")


@pytest.mark.parametrize("argument", ["--host", "--host=0.0.0.0", "--api_key", "-m", "--api-key=sk-very-secret", "-hf"])
def test_forbidden_arguments_are_refused_without_their_value(argument: str) -> None:
    with pytest.raises(BadInputError) as caught:
        plan(sample("p40x2-580"), engine_args=(argument, "x"))
    assert argument.partition("=")[0] in caught.value.message
    assert "secret" not in caught.value.message + caught.value.hint


def test_an_engine_that_takes_cut_options_is_not_fooled_by_them() -> None:
    sglang = next(engine for engine in knowledge().engines if engine.engine == "sglang")
    assert sglang.abbreviates
    assert forbidden_name(sglang, "--trust-remote") == "--trust-remote"
    assert forbidden_name(ENGINE, "--trust-remote") is None


@pytest.mark.parametrize("argument", ["--temp", "0.5", "host", "--mirostat"])
def test_other_arguments_pass(argument: str) -> None:
    assert forbidden_name(ENGINE, argument) is None


def test_a_users_argument_comes_last_and_an_override_is_said() -> None:
    found = plan(sample("p40x2-580"), engine_args=("--ctx-size", "999", "--temp", "0"))
    assert found.command[-4:] == ("--ctx-size", "999", "--temp", "0")
    assert any("--ctx-size overrides the plan" in text for text in found.warnings)
