"""`adopt`: a server that others run comes into view: looked at first, then remembered, never started or stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from deployer import catalog, health, ledger
from deployer.errors import BadInputError, DeployerError, PreconditionError, VerificationError
from deployer.health import Client, ProtocolError
from deployer.paths import Home
from deployer.types import Adopted
from deployer.workflow import endpoint, gateway_record
from deployer.workflow.key_file import read_key
from deployer.workflow.report import Reporter, timed

QUESTION = "What is the capital of France?"
ANSWER_TOKENS = 16
_CLOSED = (401, 403)
_NO_CHAT = (400, 404, 405, 422, 500, 501)
_MANY = 12


def adopt(
    home: Home,
    url: str,
    name: str,
    *,
    key_file: Path | None,
    model: str | None,
    report: Reporter,
    dry_run: bool = False,
    agree: Callable[[Adopted], None] | None = None,
) -> Adopted:
    """Look at the server, and keep what was seen unless `dry_run`; `agree` is shown it first, and raises to stop.

    BadInputError for a bad URL, name or model, PreconditionError when nothing answers or the key is refused,
    VerificationError when what answers is no OpenAI-compatible server.
    """
    refuse_taken(home, name)
    _refuse_login(url)
    key = None if key_file is None else read_key(key_file)
    client = Client(url, key)
    with timed(report, f"look at {client.base_url}") as outcome:
        found = _look(client, name, key, model)
        outcome(f"{found.engine or 'a server of an unknown kind'} answers as {found.model}")
    _notes(client, found, key, report)
    if dry_run:
        return found
    if agree is not None:
        agree(found)
    return _keep(home, found, key)


def forget(home: Home, name: str) -> None:
    """Forget an adopted server and our copy of its key. It goes on as it was."""
    with ledger.lock(home, f"down {name}"):
        ledger.forget_adopted(home, name)
        ledger.audit(home, "forget", name, None, "forgotten")


def refuse_taken(home: Home, name: str) -> None:
    """Raise BadInputError when a deployment or an adopted server has this name."""
    ledger.checked_name(name)
    taken = name in ledger.deployments(home) or gateway_record.is_gateway(home, name)
    if taken or ledger.adopted(home, name) is not None:
        raise BadInputError(f"there is a {name!r} already", hint=f"choose another --name, or: deployer down {name}")


def _keep(home: Home, found: Adopted, key: str | None) -> Adopted:
    with ledger.lock(home, f"adopt {found.name}"):
        kept = ledger.adopt(home, found, key)
        ledger.audit(home, "adopt", found.name, None, "adopted", detail=found.base_url)
    return kept


def _look(client: Client, name: str, key: str | None, model: str | None) -> Adopted:
    """A real list of models and one real answer: some servers say 200 to whatever they are asked.

    What it is comes first: a server that was started for vectors or to rank is asked for that, and never to chat.
    """
    try:
        listed = tuple(entry.id for entry in client.models())
        chosen = _choose(listed, model)
        engine = health.detect(client, catalog.load_engines())
        reranker = health.ranks_alone(client, engine, chosen)
        embedding = not reranker and health.makes_vectors_alone(client, engine, chosen)
        if not reranker and not embedding:
            embedding, reranker = _instead_of_chat(client, chosen)
    except ProtocolError as error:
        raise _refusal(client, error, key) from error
    return Adopted(
        name=name,
        base_url=f"{client.base_url}/v1",
        model=chosen,
        models=listed,
        engine=None if engine is None else engine.engine,
        embedding=embedding,
        reranker=reranker,
    )


def _choose(listed: Sequence[str], model: str | None) -> str:
    names = ", ".join(listed[:_MANY]) + (f" and {len(listed) - _MANY} more" if len(listed) > _MANY else "")
    if not all(name.isprintable() for name in listed):
        raise VerificationError("a model's name has control characters", hint="do not use a server that does this")
    if not listed:
        raise VerificationError("the server lists no model", hint="load one there first")
    if model is not None and model not in listed:
        raise BadInputError(f"the server has no model {model!r}; it lists: {names}", hint="--model NAME")
    if model is None and len(listed) > 1:
        raise BadInputError(f"which model? the server lists: {names}", hint="--model NAME")
    return model or listed[0]


def _instead_of_chat(client: Client, model: str) -> tuple[bool, bool]:
    """Whether it only makes vectors, and whether it only ranks. Raises ProtocolError when it does not chat either."""
    question = [{"role": "user", "content": QUESTION}]
    try:
        answer = client.chat(question, model=model, max_tokens=ANSWER_TOKENS, temperature=0)
    except ProtocolError as error:
        if error.status in _NO_CHAT and health.makes_vectors(client, model):
            return True, False
        if error.status in _NO_CHAT and health.ranks(client, model):
            return False, True
        raise
    if not answer.text.strip():
        raise ProtocolError("its answer to a question is empty")
    return False, False


def _refusal(client: Client, error: ProtocolError, key: str | None) -> DeployerError:
    if error.status in _CLOSED:
        said = "asks for a key" if key is None else "does not take this key"
        return PreconditionError(f"{client.base_url} {said} ({error.message})", hint="give it: --key-file FILE")
    if error.refused or error.timed_out:
        return PreconditionError(error.message, hint="is it running, and is this its address? curl shows what answers")
    return VerificationError(
        f"what answers at {client.base_url} is no OpenAI-compatible server: {error.message}",
        hint="give the address below which /v1/models is",
    )


def _refuse_login(url: str) -> None:
    """A name or password in an address would be stored and shown: neither is repeated here."""
    try:
        parts = urlsplit(url)
        login = parts.username is not None or parts.password is not None
    except ValueError:
        return  # the client says what is wrong with it
    if login:
        raise BadInputError(
            "the URL holds a user name or password, which would be stored and shown",
            hint="write it as http://HOST:PORT, and give a key with --key-file FILE",
        )


def _notes(client: Client, found: Adopted, key: str | None, report: Reporter) -> None:
    """What its operator should know."""
    local, plain = endpoint.is_loopback(found.base_url), found.base_url.startswith("http://")
    if key and plain and not local:
        report.note("the key travels unencrypted: there is no TLS on this address")
    if key and client.status_with(None, "GET", "/v1/models") == 200:  # noqa: PLR2004 - OK
        report.note("it lists its models without the key too")
    if key is None and not local:
        report.note("it asks for no key: everyone who reaches it can use it")
