"""Elements of a head, layer by layer."""

from deployer.types import Architecture


def key_dim(architecture: Architecture, layer: int) -> int:
    """Elements of a query or key head of `layer`."""
    if architecture.head_dim_swa and architecture.windows[layer]:
        return architecture.head_dim_swa
    return architecture.head_dim


def value_dim(architecture: Architecture, layer: int) -> int:
    """Elements of a value head of `layer`."""
    if architecture.head_dim_swa and architecture.windows[layer]:
        return architecture.value_head_dim_swa or architecture.head_dim_swa
    return architecture.value_head_dim or architecture.head_dim
