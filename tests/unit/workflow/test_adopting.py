"""A server that is not ours, looked at by its answers alone."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer import ledger
from deployer.errors import BadInputError, DeployerError, InterruptedByUserError, PreconditionError, VerificationError
from deployer.paths import Home
from deployer.types import Adopted, Bundle, Request
from deployer.workflow import adopting, bring_up, checking, endpoint, lifecycle, serving
from tests.unit.health.conftest import Handler, Scripted
from tests.unit.plans import build_plan


class Heard:
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, text: str) -> None:
        pass

    def done(self, text: str, seconds: float) -> None:
        pass

    def detail(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(config=tmp_path / "config", state=tmp_path / "state", lock=tmp_path / "lock")


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text("right-key\n")
    return path


def adopt(home: Home, server: Scripted, key_file: Path | None = None, **asked: Any) -> Adopted:
    words = {"model": None, "report": Heard(), "name": "desk", "url": server.url, **asked}
    return adopting.adopt(home, words.pop("url"), words.pop("name"), key_file=key_file, **words)


def models(*entries: dict[str, Any]) -> Any:
    return lambda handler: handler.reply(200, {"data": list(entries)})


def always_200(handler: Handler) -> None:
    """What LM Studio says to a path that it does not know."""
    handler.reply(200, {"error": f"Unexpected endpoint or method. (GET {handler.path}). Returning 200 anyway"})


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_every_spelling_of_the_address_is_the_same_server(
    ending: str, home: Home, server: Scripted, key_file: Path
) -> None:
    found = adopt(home, server, key_file, url=server.url + ending)
    assert found.base_url == f"{server.url}/v1"
    assert (found.model, found.models, found.engine) == ("demo", ("demo",), None)
    assert ledger.adopted(home, "desk") == found
    assert ledger.read_key(home, "desk") == "right-key"


def test_a_dry_run_looks_and_keeps_nothing(home: Home, server: Scripted, key_file: Path) -> None:
    assert adopt(home, server, key_file, dry_run=True).model == "demo"
    assert not home.state.exists()


@pytest.mark.parametrize(
    ("engine", "routes"),
    [
        ("llama.cpp", {"/v1/models": models({"id": "demo", "owned_by": "llamacpp"})}),
        ("vllm", {"/v1/models": models({"id": "demo", "owned_by": "vllm"})}),
        ("sglang", {"/v1/models": models({"id": "demo", "owned_by": "sglang"})}),
        ("ollama", {"/api/version": lambda handler: handler.reply(200, {"version": "0.33.1"})}),
        (
            "lm-studio",
            {
                "/lmstudio-greeting": lambda handler: handler.reply(200, {"lmstudio": True}),
                "/api/version": always_200,
                "/props": always_200,
            },
        ),
        (None, {"/lmstudio-greeting": always_200, "/api/version": always_200}),
    ],
)
def test_the_engine_is_known_by_its_answers(
    engine: str | None, routes: dict[str, Any], home: Home, server: Scripted
) -> None:
    server.locked = False
    server.routes |= routes
    assert adopt(home, server).engine == engine


def test_of_several_models_one_has_to_be_named(home: Home, server: Scripted) -> None:
    server.locked = False
    server.routes["/v1/models"] = models({"id": "demo"}, {"id": "other"})
    with pytest.raises(BadInputError, match=r"which model.*demo, other"):
        adopt(home, server)
    with pytest.raises(BadInputError, match="no model 'third'"):
        adopt(home, server, model="third")
    found = adopt(home, server, model="other")
    assert (found.model, found.models) == ("other", ("demo", "other"))
    assert server.requests[-1][1].get("model") in {"other", None}


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ({"/v1/models": always_200}, "no list `data`"),
        ({"/v1/models": lambda handler: handler.reply(200, b"<html>Welcome to nginx</html>")}, "Welcome to nginx"),
        ({"/v1/chat/completions": always_200}, "no `choices`"),
        ({"/v1/models": models()}, "lists no model"),
        ({"/v1/models": models({"id": "a\x1b[2Jb"})}, "control characters"),
        (
            {
                "/v1/chat/completions": lambda handler: handler.reply(
                    200, {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
                )
            },
            "empty",
        ),
    ],
)
def test_a_status_of_200_is_no_proof(routes: dict[str, Any], said: str, home: Home, server: Scripted) -> None:
    server.locked = False
    server.routes |= routes
    with pytest.raises(VerificationError, match=said):
        adopt(home, server)
    assert not home.state.exists()


def test_a_server_of_vectors_is_one_too(home: Home, server: Scripted) -> None:
    server.locked = False
    server.routes["/v1/chat/completions"] = lambda handler: handler.reply(501, {"error": {"message": "no chat here"}})
    assert adopt(home, server).embedding is True


@pytest.mark.parametrize("owner", ["llamacpp", "vllm", "sglang"])
def test_a_server_that_was_started_for_vectors_is_never_asked_to_chat(
    owner: str, home: Home, server: Scripted, key_file: Path
) -> None:
    server.routes["/v1/models"] = models({"id": "demo", "owned_by": owner})
    found = adopt(home, server, key_file)
    assert found.embedding is True
    assert "/v1/chat/completions" not in [path for path, _, _ in server.requests]
    assert checking.target(home, "desk", url=None, key_file=None, model=None).embedding is True


@pytest.mark.parametrize("owner", ["llamacpp", "vllm", "sglang", None])
def test_a_server_that_was_started_to_rank_is_known_as_one(
    owner: str | None, home: Home, server: Scripted, key_file: Path
) -> None:
    def ranking(handler: Handler) -> None:
        texts = handler.body["documents"]
        handler.reply(200, {"results": [{"index": n, "relevance_score": 0.5} for n in range(len(texts))]})

    family = {"is_generation": False, "embedding": {"family": "sequence_classification"}}
    nothing = {"error": {"message": "nothing here"}}
    server.routes["/v1/models"] = models({"id": "demo"} if owner is None else {"id": "demo", "owned_by": owner})
    server.routes["/model_info"] = lambda handler: handler.reply(200, family if owner == "sglang" else {})
    server.routes |= dict.fromkeys(
        ("/v1/chat/completions", "/v1/embeddings"), lambda handler: handler.reply(404, nothing)
    )
    server.routes["/v1/rerank"] = ranking
    found = adopt(home, server, key_file)
    assert (found.reranker, found.embedding) == (True, False)
    asked = {path for path, _, _ in server.requests}
    assert ("/v1/chat/completions" in asked) is (owner is None)
    target = checking.target(home, "desk", url=None, key_file=None, model=None)
    assert (target.reranker, target.embedding) == (True, False)
    assert endpoint.of_deployment(home, "desk").reranker


def test_a_missing_or_wrong_key_is_said(home: Home, server: Scripted, tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="asks for a key") as caught:
        adopt(home, server)
    assert "--key-file" in caught.value.hint
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-key")
    with pytest.raises(PreconditionError, match="does not take this key") as caught:
        adopt(home, server, wrong)
    assert "wrong-key" not in str(caught.value) + caught.value.hint
    assert not home.state.exists()


def test_a_server_that_answers_without_the_key_too_is_noted(home: Home, server: Scripted, key_file: Path) -> None:
    server.locked = False
    heard = Heard()
    adopt(home, server, key_file, report=heard)
    assert any("without the key" in note for note in heard.notes)


def test_nothing_there_is_a_precondition(home: Home, server: Scripted) -> None:
    with pytest.raises(PreconditionError, match="connection refused"):
        adopt(home, server, url="http://127.0.0.1:1")


@pytest.mark.parametrize(
    "url", ["localhost:1234", "ftp://127.0.0.1", "http://", "http://127.0.0.1:1?x=1", "", "http://[::1"]
)
def test_what_is_no_address_is_bad_input(url: str, home: Home, server: Scripted) -> None:
    with pytest.raises(BadInputError):
        adopt(home, server, url=url)


def test_a_login_in_the_address_is_refused_and_not_repeated(home: Home, server: Scripted) -> None:
    with pytest.raises(BadInputError, match="user name or password") as caught:
        adopt(home, server, url=server.url.replace("://", "://me:s3cret@"))
    assert "s3cret" not in str(caught.value) + caught.value.hint
    assert server.requests == []


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_key_file_that_holds_none_is_bad_input(
    content: bytes | None, home: Home, server: Scripted, tmp_path: Path
) -> None:
    path = tmp_path / "empty"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError, match="empty"):
        adopt(home, server, path)


def test_a_taken_name_is_refused_before_anything_is_asked(home: Home, server: Scripted, key_file: Path) -> None:
    ledger.create(home, build_plan("ours"), Bundle(files={}))
    with pytest.raises(BadInputError, match="ours"):
        adopt(home, server, key_file, name="ours")
    assert server.requests == []
    adopt(home, server, key_file)
    with pytest.raises(BadInputError, match="desk"):
        adopt(home, server, key_file)


def test_status_asks_it_each_time(home: Home, server: Scripted, key_file: Path) -> None:
    adopt(home, server, key_file)
    (row,) = lifecycle.status(home, None)
    assert (row.name, row.status, row.answers, row.release) == ("desk", "adopted", True, 0)
    assert (row.base_url, row.model) == (f"{server.url}/v1", "demo")
    server.model = "another"
    assert [row.answers for row in lifecycle.status(home, "desk")] == [False]


def test_check_asks_it_with_its_key(home: Home, server: Scripted, key_file: Path) -> None:
    adopt(home, server, key_file)
    target = checking.target(home, "desk", url=None, key_file=None, model=None)
    assert (target.base_url, target.key, target.model) == (f"{server.url}/v1", "right-key", "demo")
    assert checking.target(home, None, url=None, key_file=None, model="x").model == "x"


def test_connect_knows_it(home: Home, server: Scripted, key_file: Path) -> None:
    adopt(home, server, key_file)
    found = endpoint.of_deployment(home, None)
    assert (found.name, found.base_url, found.model) == ("desk", f"{server.url}/v1", "demo")
    assert found.key_file == str(ledger.key_path(home, "desk"))
    assert (found.adopted, found.loopback, found.network, found.container_base_url) == (True, True, None, None)


def test_what_needs_its_life_is_refused(home: Home, server: Scripted, key_file: Path) -> None:
    adopt(home, server, key_file)
    options, heard = serving.Options(), Heard()
    verbs: list[Any] = [
        lambda: bring_up.up(Request(model="smollm2-135m-instruct", name="desk"), home, options, heard),
        lambda: bring_up.up(Request(model="desk"), home, options, heard),
        lambda: bring_up.up(build_plan("desk"), home, options, heard),
        lambda: lifecycle.rollback(home, "desk", None, options, heard),
        lambda: lifecycle.logs(home, "desk", tail=1, follow=False, on_line=heard.detail),
        lambda: lifecycle.history(home, "desk"),
    ]
    for verb in verbs:
        with pytest.raises(PreconditionError, match="is adopted"):
            verb()
    assert ledger.deployments(home) == ()


def test_down_forgets_it_and_does_not_touch_it(home: Home, server: Scripted, key_file: Path) -> None:
    adopt(home, server, key_file)
    asked, heard = len(server.requests), Heard()
    assert lifecycle.down(home, "desk", heard) is True
    assert len(server.requests) == asked
    assert any("not touched" in note for note in heard.notes)
    assert lifecycle.status(home, None) == ()
    assert not ledger.key_path(home, "desk").exists()
    assert [entry.action for entry in ledger.audit_entries(home)] == ["forget", "adopt"]
    assert adopt(home, server, key_file).name == "desk"


def test_a_name_is_needed_where_there_are_two(home: Home, server: Scripted, key_file: Path) -> None:
    adopt(home, server, key_file)
    adopt(home, server, key_file, name="lap")
    for verb in (endpoint.of_deployment, lifecycle.chosen):
        with pytest.raises(BadInputError, match="desk, lap"):
            verb(home, None)
    with pytest.raises(DeployerError, match="desk, lap"):
        endpoint.of_deployment(home, "nope")


def test_who_does_not_agree_keeps_nothing(home: Home, server: Scripted, key_file: Path) -> None:
    shown: list[Adopted] = []

    def no(found: Adopted) -> None:
        shown.append(found)
        raise InterruptedByUserError("no")

    with pytest.raises(InterruptedByUserError):
        adopt(home, server, key_file, agree=no)
    assert [item.model for item in shown] == ["demo"]
    assert ledger.adopted(home, "desk") is None
    assert not ledger.key_path(home, "desk").exists()


def test_the_verb_says_what_it_did_and_no_key(home: Home, server: Scripted, key_file: Path, tmp_path: Path) -> None:
    words = ("adopt", server.url, "--name", "desk", "--key-file", str(key_file))
    tried = deployer(tmp_path, *words, "--dry-run", "--json")
    assert (json.loads(tried.stdout)["changed"], tried.returncode) == (False, 0)
    unasked = deployer(tmp_path, *words, "--json")
    assert unasked.returncode == 3
    assert json.loads(unasked.stdout)["error"]["hint"] == "add --yes"
    assert "would adopt desk: " in unasked.stderr
    assert json.loads(deployer(tmp_path, "status", "--json").stdout)["deployments"] == []
    done = deployer(tmp_path, *words, "--yes", "--json")
    document = json.loads(done.stdout)
    assert (document["changed"], document["model"], document["format_version"]) == (True, "demo", 1)
    assert Path(document["key_file"]).read_text() == "right-key"
    table = deployer(tmp_path, "status").stdout
    assert "adopted" in table
    assert "yes" in table
    connect = json.loads(deployer(tmp_path, "connect", "desk", "--json").stdout)
    assert (connect["adopted"], connect["networks"], connect["container_base_url"]) == (True, [], None)
    refused = deployer(tmp_path, "logs", "desk")
    assert refused.returncode == 3
    would = deployer(tmp_path, "down", "desk", "--dry-run")
    assert "forget" in would.stderr
    said = deployer(tmp_path, "down", "desk", "--dry-run", "--json").stdout
    assert json.loads(said) == {
        "format_version": 1,
        "dry_run": True,
        "name": "desk",
        "changed": False,
        "would": "forget",
    }
    gone = deployer(tmp_path, "down", "desk", "--yes", "--json")
    assert json.loads(gone.stdout)["changed"] is True
    said = "".join(run.stdout + run.stderr for run in (tried, done, refused, would, gone))
    assert "right-key" not in said


def deployer(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    from tests.unit.cli.test_bad_input import deployer as run

    return run(*args, home=folder / "cli-home")


def test_a_certificate_that_nobody_signed_is_named(home: Home, server: Scripted, tmp_path: Path) -> None:
    import ssl
    import threading
    from http.server import ThreadingHTTPServer

    certificate, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(private), "-out", str(certificate), "-days", "1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ),
        check=True,
        capture_output=True,
    )
    script = server
    script.locked = False

    class Bound(Handler):
        server_script = script

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"https://127.0.0.1:{http.server_address[1]}"
    try:
        with pytest.raises(PreconditionError, match=r"TLS: certificate verify failed.*self-signed"):
            adopt(home, server, url=url)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            assert adopt(home, server, url=url).base_url == f"{url}/v1"
        with pytest.raises(PreconditionError, match="TLS"):
            adopt(home, server, url=server.url.replace("http:", "https:"), name="other")
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
