"""What a caution looks at, and who may reach a server."""

from typing import NamedTuple

from deployer.decide.candidates import Candidate
from deployer.decide.choose import Considered
from deployer.decide.score import Option
from deployer.types import HostFacts, ModelSpec, Request


class Case(NamedTuple):
    """What a caution looks at."""

    option: Option
    host: HostFacts
    model: ModelSpec
    request: Request
    considered: Considered

    @property
    def candidate(self) -> Candidate:
        """The chosen candidate."""
        return self.option.candidate


LOOPBACK = "127.0.0.1"


def is_loopback(address: str) -> bool:
    """True for an address that only this machine reaches."""
    return address.startswith("127.") or address in ("::1", "localhost")
