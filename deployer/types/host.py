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
    """NVIDIA driver, and the newest CUDA version it supports (`12.2`); `error` says why NVML did not answer."""

    driver: str | None = None
    cuda: str | None = None
    error: str | None = None


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
    """One GPU. A GPU that answers with an `error` stays in the list and is not used."""

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


class ContainerFacts(Value, frozen=True, kw_only=True):
    """Container engine. `error` tells absent from permission denied; `cdi` lists injectable devices."""

    engine: str | None = None
    version: str | None = None
    compose: str | None = None
    rootless: bool | None = None
    nvidia_toolkit: str | None = None
    nvidia_runtime: bool | None = None
    cdi: tuple[str, ...] | None = None
    cdi_spec_dirs: tuple[str, ...] | None = None
    error: str | None = None


class HostFacts(Value, frozen=True, kw_only=True):
    """Everything the decision may know of a host: the document of `probe --json`, and a host file for `--host`.

    `programs` maps what can serve without a container (`llama-server`, `xllamacpp`) to its path or version.
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
