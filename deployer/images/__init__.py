"""Find, pull and build images: the registry and the Engine are only read here; the docker command line changes things.

Each docker command can be repeated by hand as it is logged. Heavy libraries load at the first call.
"""

from deployer.images.acquire import build, keep, pull
from deployer.images.archive import ArchiveFacts, examine, load, save
from deployer.images.engine import EngineSettings, check_space, engine_settings, free_mib, has_volume
from deployer.images.inspect import LocalImage, inspect_image
from deployer.images.parcel import Packing, Parcel, read_parcel
from deployer.images.reference import ImageReference, parse_reference
from deployer.images.registry import ImageConfig, RegistryAnswer, registry_config, registry_digest
from deployer.images.removal import Names, in_use, names_of, remove
from deployer.images.tar_stream import Window

__all__ = [
    "ArchiveFacts",
    "EngineSettings",
    "ImageConfig",
    "ImageReference",
    "LocalImage",
    "Names",
    "Packing",
    "Parcel",
    "RegistryAnswer",
    "Window",
    "build",
    "check_space",
    "engine_settings",
    "examine",
    "free_mib",
    "has_volume",
    "in_use",
    "inspect_image",
    "keep",
    "load",
    "names_of",
    "parse_reference",
    "pull",
    "read_parcel",
    "registry_config",
    "registry_digest",
    "remove",
    "save",
]
