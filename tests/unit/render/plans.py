"""Plans as the decision makes them, with realistic values: one for each kind of target."""

from typing import Any

import msgspec

from deployer.types import (
    Accelerator,
    DeviceMemory,
    Health,
    Limits,
    MemoryPlan,
    Plan,
    PlanDevice,
    PlanGateway,
    PlanImage,
    PlanModel,
    PlanRequest,
    ScorePart,
    Settings,
    SpeedEstimate,
)

IMAGE_ID = "sha256:" + "3f" * 32
DIGEST = "sha256:" + "c0d2e9b7" * 8
REGISTRY = "ghcr.io/ggml-org/llama.cpp"
P40S = (
    PlanDevice(index=0, uuid="GPU-8f4a1c7e-2f0b-4d11-9c55-0d3c5b6a7e01", name="Tesla P40", vendor="nvidia"),
    PlanDevice(index=1, uuid="GPU-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", name="Tesla P40", vendor="nvidia"),
)
RTX_4090 = PlanDevice(
    index=0, uuid="GPU-5c3e8a12-77aa-4c0f-8f3e-2b1f6d9c4e55", name="NVIDIA GeForce RTX 4090", vendor="nvidia"
)
RX_7900 = PlanDevice(index=0, uuid=None, name="AMD Radeon RX 7900 XTX", vendor="amd")
ORIN = PlanDevice(
    index=0, uuid="54d0709b-558d-5a59-9c65-0c5fc14a21a4", name="NVIDIA Jetson AGX Orin", vendor="nvidia", tegra=True
)
ARC_A770 = PlanDevice(index=0, uuid=None, name="Intel Arc A770", vendor="intel")


def image(profile: str, accelerator: Accelerator = "cpu", **changes: object) -> PlanImage:
    """An image of llama.cpp as it is pulled by digest; `changes` replace fields."""
    made = PlanImage(
        profile=profile,
        reference=f"{REGISTRY}:{profile}-b11434",
        digest=DIGEST,
        source="pull",
        cuda="12.8.1" if accelerator == "cuda" else None,
        accelerator=accelerator,
        recipe=f"{REGISTRY}:{profile}-b11434",
        image_id=IMAGE_ID,
    )
    return msgspec.structs.replace(made, **changes)


def plan(name: str = "qwen", **changes: object) -> Plan:
    """A plan for one 4.4 GiB model; `changes` replace fields."""
    made = Plan(
        name=name,
        plan_hash="5b1c" * 16,
        host_fingerprint="0123456789ab",
        request=PlanRequest(model="qwen2.5-7b-instruct", users=4, context=8192, workload="chat"),
        engine="llama.cpp",
        engine_version="b11434",
        image=image("server"),
        model=PlanModel(
            ref="hf:bartowski/Qwen2.5-7B-Instruct-GGUF:Qwen2.5-7B-Instruct-Q4_K_M.gguf",
            revision="8911e8a47f92bac19d6f5c64a2e2095bd2f7d031",
            format="gguf",
            quantization="Q4_K_M",
            files=("Qwen2.5-7B-Instruct-Q4_K_M.gguf",),
            size_mib=4466,
            path="/var/lib/deployer/models/qwen2.5-7b/Qwen2.5-7B-Instruct-Q4_K_M.gguf",
            name="qwen2.5-7b-instruct",
        ),
        devices=(),
        settings=Settings(
            context=8192, slots=4, gpu_layers=0, tensor_parallel=1, kv_cache_type="f16", threads=16, batch=2048
        ),
        command=command(name),
        environment={"LLAMA_ARG_OFFLINE": "1"},
        memory=MemoryPlan(
            devices=(
                DeviceMemory(
                    device="host",
                    weights_mib=4466,
                    kv_cache_mib=1792,
                    compute_mib=304,
                    overhead_mib=150,
                    total_mib=6712,
                    margin_mib=512,
                    available_mib=120000,
                ),
            )
        ),
        speed=SpeedEstimate(
            prompt_tokens_per_s=None, decode_tokens_per_s=9.5, total_tokens_per_s=None, basis="bandwidth"
        ),
        score=(ScorePart(part="quality", value=0.97, why="Q4_K_M"),),
        rejected=(),
        warnings=(),
        key_file=f"/var/lib/deployer/secrets/{name}/api_key",
        health=Health(path="/health", loading_status=503, public_paths=("/health", "/v1/health")),
        limits=Limits(memory_mib=8192, pids=1024, cpus=16),
        start_period_s=120,
    )
    return msgspec.structs.replace(made, **changes)


def command(name: str, gpu_layers: int = 0, program: str = "/app/llama-server") -> tuple[str, ...]:
    """Full argument vector of llama-server in a container."""
    return (
        *(program, "--model", "/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "--alias", name),
        *("--host", "0.0.0.0", "--port", "8080", "--api-key-file", "/run/secrets/api_key"),
        *("--ctx-size", "32768", "--parallel", "4", "--threads", "16", "--n-gpu-layers", str(gpu_layers)),
        *("--batch-size", "2048", "--ubatch-size", "512", "--cache-type-k", "f16", "--fit", "off", "--metrics"),
    )


def gpu(kind: str, accelerator: Accelerator, devices: tuple[PlanDevice, ...], **changes: Any) -> Plan:
    """A plan on GPUs with a registry image."""
    return plan(image=image(kind, accelerator), devices=devices, command=command("qwen", 29), **changes)


def built(**changes: object) -> Plan:
    """A plan whose image is built here: CUDA 12.4 for compute capability 6.1, for a driver older than 570."""
    arguments = {"CUDA_ARCH": "61"}
    made = image(
        "cuda-source",
        "cuda",
        reference=None,
        digest=None,
        image_id=None,
        source="build",
        cuda="12.4.1",
        recipe="dockerfile:" + "ab" * 32,
        dockerfile="engines/llama.cpp/cuda-source.Dockerfile.j2",
        build_args=arguments,
    )
    made = msgspec.structs.replace(made, **changes)
    return plan(image=made, devices=P40S, command=command("qwen", 29, "llama-server"))


def copies() -> Plan:
    """Two copies of a model in one vLLM, each on a GPU of its own."""
    flags = {"--served-model-name": "qwen", "--host": "0.0.0.0", "--port": "8000", "--max-model-len": "8192"}
    flags |= {"--max-num-seqs": "32", "--gpu-memory-utilization": "0.92", "--data-parallel-size": "2"}
    words = tuple(word for pair in flags.items() for word in pair)
    made = msgspec.structs.replace(
        image("cuda13", "cuda"), reference="docker.io/vllm/vllm-openai:v0.33.0", recipe="vllm", cuda="13.0.3"
    )
    return plan(
        engine="vllm",
        engine_version="0.33.0",
        image=made,
        devices=(RTX_4090, msgspec.structs.replace(RTX_4090, index=1, uuid="GPU-7d3e8a12-77aa-4c0f-8f3e-2b1f6d9c4e66")),
        command=("vllm", "serve", "/models", *words),
        settings=Settings(
            context=8192, slots=64, gpu_layers=29, tensor_parallel=1, kv_cache_type="auto", threads=16, data_parallel=2
        ),
        writable=("/var/tmp",),
        shm_mib=4096,
    )


SETTINGS_OF_COPIES = Settings(
    context=8192, slots=16, gpu_layers=29, tensor_parallel=1, kv_cache_type="f16", threads=8, data_parallel=2
)


def llama_copies(count: int = 2, **changes: object) -> Plan:
    """Copies of llama.cpp, each on a GPU of its own, behind the gateway."""
    cards = tuple(
        msgspec.structs.replace(P40S[0], index=number, uuid=f"{(P40S[0].uuid or '')[:-1]}{number}")
        for number in range(count)
    )
    routes = ("GET /v1/models", "POST /v1/chat/completions", "GET /props", "GET /metrics")
    made = plan(
        image=image("server-cuda", "cuda"),
        devices=cards,
        command=command("qwen", 29),
        settings=SETTINGS_OF_COPIES,
        copies=count,
        health=Health(path="/health", loading_status=503, public_paths=("/health",), metrics_path="/metrics"),
        gateway=PlanGateway(
            why="llama.cpp holds one copy of a model in a process",
            image="docker.io/library/haproxy:3.2",
            digest=DIGEST,
            routes=routes,
            passes_key=True,
        ),
    )
    return msgspec.structs.replace(made, **changes)


def targets() -> dict[str, Plan]:
    """Every kind of target, by the name of its golden."""
    p40s = msgspec.structs.replace(image("server-cuda", "cuda"), ptx_only=True)
    debian = image(
        "debian", reference=None, digest=None, source="verified", dockerfile="engines/llama.cpp/debian.Dockerfile.j2"
    )
    return {
        "cpu-debian": plan(image=debian, command=command("qwen", 0, "llama-server")),
        "p40-two": plan(image=p40s, devices=P40S, command=command("qwen", 29), start_period_s=600),
        "rtx-4090": gpu("server-cuda", "cuda", (RTX_4090,)),
        "amd-rocm": gpu("server-rocm", "rocm", (RX_7900,), device_groups=(44, 992)),
        "intel-sycl": gpu("server-intel", "sycl", (ARC_A770,), device_groups=(992,)),
        "jetson": gpu("jetpack6", "cuda", (ORIN,)),
        "vllm-copies": copies(),
        "vulkan": gpu("server-vulkan", "vulkan", (RX_7900,)),
        "vulkan-nvidia": gpu("server-vulkan", "vulkan", (P40S[0],)),
        "cuda-source": built(),
        "debian-build": plan(
            image=msgspec.structs.replace(debian, image_id=None, source="build"),
            command=command("qwen", 0, "llama-server"),
        ),
        "exposed": plan(address="0.0.0.0", warnings=("it is reachable from other machines",)),
    }


def process() -> Plan:
    """The embedded default: llama-server as a child process."""
    local = PlanImage(
        profile="local",
        reference=None,
        digest=None,
        source="none",
        cuda=None,
        accelerator="cpu",
        recipe="llama-server",
    )
    words = ("llama-server", "--model", "/srv/models/a.gguf", "--host", "127.0.0.1", "--port", "8000")
    return plan(
        image=local, runtime="process", command=(*words, "--api-key-file", "/var/lib/deployer/secrets/qwen/api_key")
    )
