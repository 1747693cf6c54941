"""A value of a `deployer.yaml` that is of the right type and still cannot be used: the error says where it stands."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import msgspec

from deployer.catalog.deployments import place
from deployer.errors import BadInputError
from deployer.types.deployments import DeploymentsFile, Wishes

_OPTION = re.compile(r"(?:(?P<name>[a-z0-9-]+): )?(?:--)?(?P<word>[a-z-]+) (?P<why>.*)", re.DOTALL)


@contextmanager
def told(file: DeploymentsFile, above: Collection[str], name: str | None = None) -> Iterator[None]:
    """Name file, line and path in the error about a word of the deployment `name`, or of the one that it names.

    An error about an option begins with it (`chat: --gpus 7: why`). One about a word in `above`, which flags or the
    environment say in place of the file, or that the file does not say, stays as it is.
    """
    try:
        yield
    except BadInputError as error:
        found = _OPTION.fullmatch(error.message)
        whose = name or (found and found["name"])
        steps = None if found is None or found["word"] in above else _steps(file, whose, found["word"])
        if found is None or steps is None:
            raise
        error.message = f"{place(file, *steps)}: {found['why']}"
        error.args = (error.message,)
        raise


def _steps(file: DeploymentsFile, name: str | None, word: str) -> tuple[str, ...] | None:
    """The path in the file of the word that holds for a deployment; None where the file does not say it."""
    if name not in file.deployments:
        return None
    if _says(file.deployments[name], word):
        return "deployments", name, word
    return ("defaults", word) if _says(file.defaults, word) else None


def _says(wishes: Wishes, word: str) -> bool:
    fields = {field.encode_name: field.name for field in msgspec.structs.fields(wishes)}
    return word in fields and getattr(wishes, fields[word]) is not None
