"""Rules about NVIDIA Jetson: images for servers against images for JetPack, and which JetPack."""

from deployer.decide.candidates import Candidate
from deployer.decide.host import JETSON, is_tegra, short_name
from deployer.decide.version import numbers
from deployer.types import HostFacts, ModelSpec, Request

JETPACK_RELEASES = {5: ((34,), (35,)), 6: ((36,),), 7: ((38,),)}
"""Jetson Linux by JetPack (NVIDIA JetPack archive)."""


OLLAMA = ("7.2", "8.7")
"""Jetsons for which Ollama has code (Ollama 0.33.0-rc2 llama/server/CMakePresets.json, jetpack5 and jetpack6)."""


def jetson(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Images for servers do not run on a Jetson before Thor, whose driver is another one; it needs its own code.

    Source: docs.nvidia.com/cuda/cuda-for-tegra-appnote (integrated GPUs need the Tegra builds of JetPack).
    """
    if candidate.image.accelerator not in ("cuda", "vulkan"):
        return None
    if candidate.image.jetpack is not None:
        return _jetpack(candidate, candidate.image.jetpack, host)
    for device in candidate.devices:
        own = device.gpu.compute_capability
        if own in JETSON and own not in (*candidate.image.sass, *candidate.image.ptx):
            others = (image.id for image in candidate.engine.images if image.jetpack and own in image.sass)
            instead = next(others, None)
            other = "use Ollama, whose images bring code for JetPack" if own in OLLAMA else "use the CPU"
            return (
                f"{short_name(device.gpu)} ({own}) is a Jetson{_release(host)}, and this image is made for servers, "
                f"not for JetPack; {f'use {instead}' if instead else other}"
            )
    return None


def _jetpack(candidate: Candidate, jetpack: int, host: HostFacts) -> str | None:
    """An image for Jetson runs on a Jetson only, with the JetPack whose libraries it was linked with."""
    stranger = next((device.gpu for device in candidate.devices if not is_tegra(device.gpu, host)), None)
    if stranger is not None and stranger.compute_capability is not None:
        return f"{candidate.image.id} is made for NVIDIA Jetson, and {short_name(stranger)} is none; use another image"
    release = numbers(host.nvidia.l4t)[:1] if host.nvidia is not None and host.nvidia.l4t else None
    wanted = JETPACK_RELEASES.get(jetpack)
    if release is None or wanted is None or release in wanted:
        return None
    newer = "; install that JetPack, or use another image"
    return f"{candidate.image.id} is made for JetPack {jetpack}, and this Jetson has another one{_release(host)}{newer}"


def _release(host: HostFacts) -> str:
    return f" (L4T {host.nvidia.l4t})" if host.nvidia is not None and host.nvidia.l4t else ""
