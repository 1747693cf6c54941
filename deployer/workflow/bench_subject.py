"""The server that `bench` measures: found as `check` finds it, and looked at once."""

from pathlib import Path

import msgspec

from deployer import health, ledger
from deployer.errors import BadInputError, PreconditionError, VerificationError
from deployer.health import Target
from deployer.paths import Home
from deployer.types import EngineProfile, Plan
from deployer.types.benchmark import Whose
from deployer.workflow import checking

CONTACT_S = 10.0


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and the plan by which it was deployed (None: it is not ours)."""

    target: Target
    model: str
    whose: Whose
    home: Home
    plan: Plan | None = None

    @property
    def engine(self) -> str | None:
        """The engine's name, None where nothing shows it."""
        return None if self.target.engine is None else self.target.engine.engine

    @property
    def words(self) -> str:
        """What names it on the command line."""
        if self.target.name is not None:
            return self.target.name
        return f"--url {self.target.base_url}" + (" --key-file FILE" if self.target.key else "")


def subject(
    home: Home, name: str | None, *, url: str | None, key_file: Path | None, model: str | None, context: int | None
) -> Subject:
    """Find it, and ask what it lists and which engine it is.

    Raises PreconditionError where nothing answers, BadInputError for a key that is refused or a server that does not
    chat, VerificationError for what is no server of this kind.
    """
    found = checking.target(home, name, url=url, key_file=key_file, model=model, context=context)
    plan, whose = _owner(home, found.name)
    retry = f"deployer bench --url {found.base_url} --key-file FILE" if found.name is None else "deployer status"
    health.first_contact(found.base_url, found.key, total_s=CONTACT_S, retry=retry)
    client = health.Client(found.base_url, found.key)
    client.limit(CONTACT_S)
    try:
        known = _completed(client, found)
    except health.ProtocolError as error:
        raise _no_server(client.base_url, error) from error
    return Subject(
        target=msgspec.structs.replace(known, base_url=client.base_url),
        model=known.model or "",
        whose=whose,
        home=home,
        plan=plan,
    )


def _owner(home: Home, name: str | None) -> tuple[Plan | None, Whose]:
    if name is None:
        return None, "url"
    if ledger.adopted(home, name) is not None:
        return None, "adopted"
    plan = ledger.known_plan(home, name)
    return (plan, "deployed") if plan is not None else (None, "url")


def _completed(client: health.Client, found: Target) -> Target:
    """Fill in what the server tells: its model, its context, its engine. Raises where it does not chat."""
    listed = client.models()
    engine = found.engine or health.detect(client, found.engines)
    model = found.model or (listed[0].id if listed else None)
    if not model:
        raise PreconditionError("the server lists no model", hint="load one there first, or name it: --model NAME")
    if found.reranker or health.ranks_alone(client, engine, model):
        raise BadInputError(f"{model} ranks texts and does not chat: it has no tokens to time", hint="deployer check")
    if found.embedding or _vectors(client, engine, model):
        raise BadInputError(f"{model} makes vectors and does not chat: it has no tokens to time", hint="deployer check")
    context = found.context or next((entry.context for entry in listed if entry.id == model), None)
    return msgspec.structs.replace(found, engine=engine, model=model, context=context)


def _vectors(client: health.Client, engine: EngineProfile | None, model: str) -> bool:
    return health.makes_vectors_alone(client, engine, model)


def _no_server(base_url: str, error: health.ProtocolError) -> VerificationError:
    return VerificationError(
        f"what answers at {base_url} is no OpenAI-compatible server: {error.message}",
        hint="give the address below which /v1/models is",
    )
