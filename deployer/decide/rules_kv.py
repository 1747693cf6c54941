"""Whether the GPUs can keep keys and values as was asked."""

from deployer.decide.candidates import Candidate, describe
from deployer.decide.paged_layers import element_bytes, kv_types
from deployer.decide.settings import KV_BLOCK, in_whole_blocks
from deployer.types import HostFacts, ModelSpec, Request

_HALF = 2.0


def kv_type_heads(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Keys and values were asked for in blocks that do not divide the model's heads; see `in_whole_blocks`."""
    wanted, architecture = request.kv_type, model.architecture
    if wanted is None or candidate.engine.memory != "llama.cpp" or in_whole_blocks(architecture, wanted):
        return None
    return (
        f"{candidate.engine.engine} keeps {wanted} in blocks of {KV_BLOCK}, which do not divide the heads of "
        f"{model.name} ({architecture.head_dim} wide); use --kv-type f16"
    )


def kv_type_devices(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Fewer than 16 bits were asked for, and these GPUs have no kernels of this engine for it; see `kv_types`."""
    wanted, engine = request.kv_type, candidate.engine
    if wanted is None or engine.memory != "paged_kv" or element_bytes(wanted) >= _HALF:
        return None
    if len(kv_types(candidate, model.architecture)) > 1:
        return None
    return (
        f"{engine.engine} cannot keep keys and values of {model.name} as {wanted} on {describe(candidate.devices)}; "
        "use --kv-type auto, or newer GPUs"
    )
