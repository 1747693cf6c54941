"""What is true of a host: the document of `probe --json`, and a host file."""

from deployer.types._value import FORMAT_VERSION, Value


class OsFacts(Value, frozen=True, kw_only=True):
    """Operating system."""

    system: str | None = None
    distribution: str | None = None
    kernel: str | None = None
    wsl: bool | None = None


class CpuFacts(Value, frozen=True, kw_only=True):
    """Processor. `cores` are physical; `available_cores` are those inside this process's cpuset and CPU quota."""

    model: str | None = None
    vendor: str | None = None
    architecture: str | None = None
    cores: int | None = None
    threads: int | None = None
    available_cores: int | None = None
    numa_nodes: int | None = None
    flags: tuple[str, ...] | None = None


class MemoryFacts(Value, frozen=True, kw_only=True):
    """Main memory; `limit_mib` is the cgroup's limit, `available_mib` already respects it."""

    total_mib: int | None = None
    available_mib: int | None = None
    limit_mib: int | None = None


class DiskFacts(Value, frozen=True, kw_only=True):
    """The disk that holds the state folder."""

    path: str | None = None
    free_mib: int | None = None
    total_mib: int | None = None


class NvidiaFacts(Value, frozen=True, kw_only=True):
    """NVIDIA driver, and the newest CUDA version it supports (`12.2`); `error` says why NVML did not answer.

    `l4t` is the release of Jetson Linux (`36.4.3`); a Jetson before JetPack 6 has no `driver` version.
    """

    driver: str | None = None
    cuda: str | None = None
    error: str | None = None
    l4t: str | None = None


class AmdFacts(Value, frozen=True, kw_only=True):
    """AMD's kernel driver; `error` says why ROCm cannot work here, which leaves Vulkan.

    `driver` is the version of a separately installed amdgpu (`6.12.12`); the kernel's own has none.
    """

    driver: str | None = None
    error: str | None = None


class DeviceNode(Value, frozen=True, kw_only=True):
    """A device file. `group` is the numeric group that may open it, None where no group is needed or none helps.

    `openable`: the user who asked may open it, which says nothing of a container that root's engine starts.
    """

    path: str
    group: int | None = None
    openable: bool | None = None


class GpuProcess(Value, frozen=True, kw_only=True):
    """A process that holds memory of a GPU."""

    pid: int
    name: str | None = None
    memory_mib: int | None = None


class MigDevice(Value, frozen=True, kw_only=True):
    """One MIG slice; slices have no peer access to each other."""

    uuid: str | None = None
    name: str | None = None
    memory_total_mib: int | None = None
    memory_free_mib: int | None = None


class MigFacts(Value, frozen=True, kw_only=True):
    """Multi-Instance GPU mode and its slices."""

    enabled: bool
    devices: tuple[MigDevice, ...] = ()


class Gpu(Value, frozen=True, kw_only=True):
    """One GPU. A GPU that answers with an `error` stays in the list and is not used.

    `driver` is the kernel module that holds it (`amdgpu`, `xe`, `vfio-pci`). `nodes` are the device files a container
    needs; NVIDIA's toolkit finds its own. `access` says what this user may not open: a container may all the same.
    """

    index: int
    vendor: str | None = None
    name: str | None = None
    uuid: str | None = None
    pci_bus_id: str | None = None
    architecture: str | None = None
    compute_capability: str | None = None
    gfx: str | None = None
    memory_total_mib: int | None = None
    memory_free_mib: int | None = None
    memory_reserved_mib: int | None = None
    unified_memory: bool | None = None
    display: bool | None = None
    mig: MigFacts | None = None
    processes: tuple[GpuProcess, ...] | None = None
    error: str | None = None
    driver: str | None = None
    nodes: tuple[DeviceNode, ...] = ()
    access: str | None = None

    @property
    def device_groups(self) -> tuple[int, ...]:
        """Numeric groups that a container's user needs (`group_add`), in order."""
        return tuple(sorted({node.group for node in self.nodes if node.group is not None}))


class CdiSpec(Value, frozen=True, kw_only=True):
    """A CDI specification file: what it can inject, and for which driver it was made. `error` says why it is of no use.

    `devices` are names within `kind`: kind `nvidia.com/gpu` and device `0` make `nvidia.com/gpu=0`.
    """

    path: str
    kind: str | None = None
    devices: tuple[str, ...] = ()
    driver: str | None = None
    error: str | None = None


class ContainerFacts(Value, frozen=True, kw_only=True):
    """Container engine. `error` tells absent from permission denied; `cdi` lists injectable devices.

    `nvidia_injection` lists what works for NVIDIA GPUs: `gpus` (`--gpus`, Compose `driver: nvidia`), `runtime`
    (`runtime: nvidia`), `cdi` (`--device nvidia.com/gpu=0`); None where it cannot be known, as of a remote engine.
    `endpoint` is the engine's address and `context` the Docker context that named it.
    """

    engine: str | None = None
    version: str | None = None
    compose: str | None = None
    rootless: bool | None = None
    nvidia_toolkit: str | None = None
    nvidia_runtime: bool | None = None
    cdi: tuple[str, ...] | None = None
    cdi_spec_dirs: tuple[str, ...] | None = None
    error: str | None = None
    context: str | None = None
    endpoint: str | None = None
    nvidia_injection: tuple[str, ...] | None = None
    cdi_specs: tuple[CdiSpec, ...] = ()


class HostFacts(Value, frozen=True, kw_only=True):
    """Everything the decision may know of a host: the document of `probe --json`, and a host file for `--host`.

    `programs` maps what can serve without a container (`llama-server`, `vllm`, `xllamacpp`) to its path or version.
    """

    format_version: int = FORMAT_VERSION
    hostname: str | None = None
    captured_at: str | None = None
    fingerprint: str | None = None
    os: OsFacts = OsFacts()
    cpu: CpuFacts = CpuFacts()
    memory: MemoryFacts = MemoryFacts()
    disk: DiskFacts = DiskFacts()
    nvidia: NvidiaFacts | None = None
    gpus: tuple[Gpu, ...] = ()
    container: ContainerFacts | None = None
    programs: dict[str, str] | None = None
    amd: AmdFacts | None = None
