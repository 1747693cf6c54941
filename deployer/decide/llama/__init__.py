"""The memory arithmetic of llama.cpp: `buffers` gives every buffer of every device, in bytes, from metadata alone."""

from deployer.decide.llama.buffers import buffers
from deployer.decide.llama.settings import Buffers, DeviceBuffers, LlamaSettings

__all__ = ["Buffers", "DeviceBuffers", "LlamaSettings", "buffers"]
