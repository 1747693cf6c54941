"""Before the trials: does anything answer at the address, and does it let this key in."""

from deployer.errors import BadInputError, PreconditionError
from deployer.health.answers import ProtocolError
from deployer.health.client import Client
from deployer.health.trial import CLOSED

CONTACT_S = 10.0
_ROUTES = (("GET", "/v1/models"), ("POST", "/v1/chat/completions"))
"""llama.cpp lists its models to everyone (tools/server/server-http.cpp), and asks for its key where work is done."""


def first_contact(base_url: str, key: str | None, *, total_s: float, retry: str = "") -> None:
    """Ask once for the models, and once for nothing at all.

    Raises PreconditionError where nothing answers within 10 s (or `total_s` if less), and BadInputError where a key is
    refused or needed. `retry`: the next command with a placeholder for a key's file, of which the error's hint is made.
    """
    client = Client(base_url, key)
    client.limit(min(CONTACT_S, total_s))
    for number, (method, path) in enumerate(_ROUTES):
        try:
            status = client.status_with(key.strip() if key else None, method, path)
        except ProtocolError as error:
            if number == 0 and (error.refused or error.timed_out):
                raise _silent(client.base_url, error) from error
            return
        if status in CLOSED:
            raise _closed(client.base_url, status, has_key=bool(key), retry=retry)


def _silent(base_url: str, error: ProtocolError) -> PreconditionError:
    reason = error.message.removeprefix(f"no connection to {base_url}: ")
    return PreconditionError(
        f"nothing answers at {base_url}: {reason}", hint=f"start it, then: curl {base_url}/v1/models"
    )


def _closed(base_url: str, status: int, *, has_key: bool, retry: str) -> BadInputError:
    said = "refuses this key" if has_key else "asks for a key, and none was given"
    return BadInputError(f"{base_url} {said} (HTTP {status})", hint=retry)
