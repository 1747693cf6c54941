"""Trials of answers that are bound to a form in the engine's own words, which its profile gives.

What is allowed is nothing that a model would say to the question, so that only a server which enforces it passes.
"""

import re
from collections.abc import Sequence

from deployer.health.answers import ProtocolError
from deployer.health.trial import Broken, Live, NotSupported, nested, refused
from deployer.types import Extension

_QUESTION = "What is the capital of France?"
_CHOICES = ("mauve-17", "teal-42")
_PATTERN = "(mauve|teal)-[0-9]{2}"
_GRAMMAR = 'root ::= ("mauve" | "teal") "-" [0-9] [0-9]'
_TOKENS = 16


def choice(live: Live) -> str:
    """The answer is one of two texts."""
    extension = live.capabilities.choice
    written: dict[str, str | Sequence[str]] = {
        "list": list(_CHOICES),
        "regex": f"({'|'.join(_CHOICES)})",
        "grammar": "root ::= " + " | ".join(f'"{text}"' for text in _CHOICES),
    }
    said = _bound(live, extension, "choice", None if extension is None else written[extension.form])
    if said not in _CHOICES:
        raise Broken(f"the answer is {said[:80]!r}, which was not among {', '.join(_CHOICES)}")
    return f"{said!r}, one of the two texts that were allowed, by the field {_field(extension)}"


def regex(live: Live) -> str:
    """The answer matches a regular expression."""
    return _matching(live, live.capabilities.regex, "regex", _PATTERN)


def grammar(live: Live) -> str:
    """The answer follows a grammar."""
    return _matching(live, live.capabilities.grammar, "grammar", _GRAMMAR)


def _matching(live: Live, extension: Extension | None, what: str, wish: str) -> str:
    said = _bound(live, extension, what, wish)
    if re.fullmatch(_PATTERN, said) is None:
        raise Broken(f"the answer is {said[:80]!r}, which {wish} does not allow")
    return f"{said!r} follows {wish}, by the field {_field(extension)}"


def _bound(live: Live, extension: Extension | None, what: str, wish: object) -> str:
    if live.engine is None:
        raise NotSupported(f"OpenAI's API has no field for {what}, and which server this is, is not known")
    if extension is None:
        raise NotSupported(f"{live.title} has no field for {what}")
    try:
        answer = live.ask(_QUESTION, max_tokens=_TOKENS, **nested(extension.field, wish))
    except ProtocolError as error:
        raise refused(error, f"the field {extension.field}") from error
    return answer.content.strip()


def _field(extension: Extension | None) -> str:
    return "" if extension is None else extension.field
