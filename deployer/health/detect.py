"""Which engine answers at an address: each profile says what shows it."""

from collections.abc import Sequence

from deployer.health.answers import ProtocolError
from deployer.health.client import Client
from deployer.types import Detect, EngineProfile


def detect(client: Client, engines: Sequence[EngineProfile]) -> EngineProfile | None:
    """Return the profile of the engine that answers, None when no profile, or more than one, fits.

    A profile that names a value is sure of itself, and goes before one that only names a key.
    """
    told = [(engine, engine.capabilities.detect) for engine in engines if engine.capabilities is not None]
    answers: dict[str, object] = {}
    for sure in (True, False):
        asked = [(engine, sign) for engine, sign in told if sign is not None and (sign.value is not None) is sure]
        found = [engine for engine, sign in asked if _fits(sign, _answer(client, sign.path, answers))]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def shows(client: Client, sign: Detect) -> bool:
    """Tell whether the server shows this sign; False too where it does not answer."""
    return _fits(sign, _answer(client, sign.path, {}))


def _answer(client: Client, path: str, answers: dict[str, object]) -> object:
    if path not in answers:
        try:
            answers[path] = client.get(path)
        except ProtocolError:
            answers[path] = None
    return answers[path]


def _fits(sign: Detect, document: object) -> bool:
    for step in sign.key.split("."):
        if isinstance(document, dict):
            document = document.get(step)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return False
    if sign.value is None:
        return document is not None
    return type(document) is type(sign.value) and document == sign.value
