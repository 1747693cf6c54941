"""How a container gets the planned GPUs: what to ask Docker for, by vendor."""

import msgspec

from deployer.errors import BadInputError
from deployer.types import Plan


class DeviceAccess(msgspec.Struct, frozen=True, kw_only=True):
    """`nvidia_ids` go to the NVIDIA device driver; `paths` and `groups` are device files and who may open them.

    `runtime` is the container runtime that hands over a Jetson's GPU, which has no UUID that Docker knows.
    """

    nvidia_ids: tuple[str, ...] = ()
    runtime: str | None = None
    paths: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    environment: dict[str, str] = {}


CACHE_FOLDER = "/var/tmp"  # noqa: S108 - inside the container, on a volume of its own
_KFD, _DRI = "/dev/kfd", "/dev/dri"


def device_access(plan: Plan) -> DeviceAccess:
    """Access to the planned devices and to nothing else; empty for a plan without devices.

    The NVIDIA driver is asked for CUDA images, and for Vulkan on NVIDIA cards; never for ROCm or SYCL.
    Raises BadInputError when an NVIDIA device has no UUID: an index would name another card after the next boot.
    """
    if not plan.devices or plan.image.accelerator == "cpu":
        return DeviceAccess()
    groups = tuple(str(group) for group in plan.device_groups)
    if any(device.tegra for device in plan.devices):
        return DeviceAccess(runtime="nvidia", environment={"NVIDIA_VISIBLE_DEVICES": "all"} | _cuda_environment(plan))
    match plan.image.accelerator:
        case "cuda":
            return DeviceAccess(nvidia_ids=_uuids(plan), environment=_cuda_environment(plan))
        case "rocm":
            return DeviceAccess(paths=(_KFD, _DRI), groups=groups)
        case "vulkan" if all(device.vendor == "nvidia" for device in plan.devices):
            capabilities = {"NVIDIA_DRIVER_CAPABILITIES": "compute,graphics,utility"}
            return DeviceAccess(nvidia_ids=_uuids(plan), environment=capabilities)
        case _:
            return DeviceAccess(paths=(_DRI,), groups=groups)


def _uuids(plan: Plan) -> tuple[str, ...]:
    uuids = tuple(device.uuid for device in plan.devices if device.uuid is not None)
    if len(uuids) != len(plan.devices):
        raise BadInputError(
            "plan: devices: a GPU without a UUID cannot be handed to a container",
            hint="probe the host again (deployer probe --refresh) and make the plan again",
        )
    return uuids


def _cuda_environment(plan: Plan) -> dict[str, str]:
    cache = {"CUDA_CACHE_PATH": f"{CACHE_FOLDER}/cuda"} if plan.image.ptx_only else {}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"} | cache
