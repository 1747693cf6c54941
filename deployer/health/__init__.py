"""Is it healthy, why not, and what can it do."""

from deployer.health.answers import ProtocolError
from deployer.health.check import CapabilityResult, check
from deployer.health.client import Client
from deployer.health.diagnose import Diagnosis, diagnose
from deployer.health.gate import gate, server_url

__all__ = ["CapabilityResult", "Client", "Diagnosis", "ProtocolError", "check", "diagnose", "gate", "server_url"]
