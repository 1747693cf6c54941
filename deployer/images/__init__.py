"""Find, pull and build images: the registry and the Engine are only read here; the docker command line changes things.

Each docker command can be repeated by hand as it is logged. Heavy libraries load at the first call.
"""

from deployer.images.acquire import build, keep, pull
from deployer.images.engine import EngineSettings, check_space, engine_settings, free_mib
from deployer.images.inspect import LocalImage, inspect_image
from deployer.images.reference import ImageReference, parse_reference
from deployer.images.registry import ImageConfig, RegistryAnswer, registry_config, registry_digest

__all__ = [
    "EngineSettings",
    "ImageConfig",
    "ImageReference",
    "LocalImage",
    "RegistryAnswer",
    "build",
    "check_space",
    "engine_settings",
    "free_mib",
    "inspect_image",
    "keep",
    "parse_reference",
    "pull",
    "registry_config",
    "registry_digest",
]
