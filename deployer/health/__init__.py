"""Is it healthy, why not, and what can it do."""

from deployer.health.answers import Answering, ProtocolError
from deployer.health.check import CapabilityResult, CheckReport, Target, check
from deployer.health.client import Client
from deployer.health.contact import first_contact
from deployer.health.copies import by_copy
from deployer.health.detect import detect
from deployer.health.diagnose import Diagnosis, diagnose
from deployer.health.gate import gate, server_url
from deployer.health.gpu_use import Evidence
from deployer.health.kind import makes_vectors, makes_vectors_alone, ranks, ranks_alone
from deployer.health.last_words import LastWords
from deployer.health.memory_lines import by_device, read_parts
from deployer.health.metrics import read_metrics, scrape

__all__ = [
    "Answering",
    "CapabilityResult",
    "CheckReport",
    "Client",
    "Diagnosis",
    "Evidence",
    "LastWords",
    "ProtocolError",
    "Target",
    "by_copy",
    "by_device",
    "check",
    "detect",
    "diagnose",
    "first_contact",
    "gate",
    "makes_vectors",
    "makes_vectors_alone",
    "ranks",
    "ranks_alone",
    "read_metrics",
    "read_parts",
    "scrape",
    "server_url",
]
