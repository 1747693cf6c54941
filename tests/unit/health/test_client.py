import itertools
import json
import threading
import time
from typing import Any

import pytest

from deployer.errors import BadInputError
from deployer.health import Client, ProtocolError
from deployer.health.answers import Answering
from deployer.health.client import checked_key, checked_url
from deployer.health.wire import BODY_LIMIT_BYTES
from tests.unit.health.conftest import Leaps

HELLO = [{"role": "user", "content": "hello"}]


def client(server: Any, **options: Any) -> Client:
    return Client(server.url + "/v1/", server.key, **options)


def test_a_proper_server_is_read(server: Any) -> None:
    models = client(server).models()
    answer = client(server).chat(HELLO, model="demo", max_tokens=3)
    assert [(model.id, model.context) for model in models] == [("demo", 2048)]
    assert (answer.content, answer.completion_tokens, answer.finish_reason) == ("1 2 3", 3, "length")
    assert answer.seconds > 0
    assert answer.tokens_per_s == pytest.approx(3 / answer.seconds)


def test_the_key_is_sent_in_one_header_only(server: Any) -> None:
    client(server).chat(HELLO, model="demo", max_tokens=3)
    path, body, headers = server.requests[-1]
    assert headers["Authorization"] == "Bearer right-key"
    assert "right-key" not in path + str(body)
    assert [name for name, value in headers.items() if "right-key" in value] == ["Authorization"]


def test_without_the_key_nothing_is_sent(server: Any) -> None:
    assert client(server).status_without_key("/v1/chat/completions", {"model": "demo"}) == 401
    assert "Authorization" not in server.requests[-1][2]


def test_netrc_and_proxies_do_not_touch_a_local_server(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password other\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert client(server).models()[0].id == "demo"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><body>Welcome to nginx</body></html>", "Welcome to nginx"),
        (b"[1, 2]", "JSON object"),
        (b"", "nothing"),
        (b'{"data": {"id": "demo"}}', "no list `data`"),
        (b"[" * 100_000, "JSON object"),
    ],
)
def test_models_that_are_not_models(server: Any, body: bytes, said: str) -> None:
    server.routes["/v1/models"] = lambda handler: handler.reply(200, body)
    with pytest.raises(ProtocolError, match="models") as caught:
        client(server).models()
    assert said in caught.value.message


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": []},
        {"choices": ["text"]},
        {"choices": [{"message": None}]},
        {"choices": {"0": {}}},
    ],
)
def test_answers_of_a_wrong_shape(server: Any, document: Any) -> None:
    server.routes["/v1/chat/completions"] = lambda handler: handler.reply(200, document)
    with pytest.raises(ProtocolError, match="choices"):
        client(server).chat(HELLO, model="demo", max_tokens=3)


def test_the_servers_own_error_sentence_is_kept_without_control_characters(server: Any) -> None:
    failure = {"error": {"message": "\x1b[31mcontext too long", "code": 400}}
    server.routes["/v1/chat/completions"] = lambda handler: handler.reply(400, failure)
    with pytest.raises(ProtocolError, match="context too long") as caught:
        client(server).chat(HELLO, model="demo", max_tokens=3)
    assert caught.value.status == 400
    assert "\x1b" not in caught.value.message


def test_a_redirect_is_not_followed(server: Any) -> None:
    server.routes["/v1/models"] = lambda handler: handler.reply(
        307, {}, {"Location": "http://example.invalid/v1/models"}
    )
    with pytest.raises(ProtocolError, match="redirects"):
        client(server).models()
    assert len(server.requests) == 1


def test_an_endless_body_is_cut(server: Any) -> None:
    def endless(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.released.is_set():
            handler.wfile.write(b" " * 1_000_000)

    server.routes["/v1/models"] = endless
    with pytest.raises(ProtocolError, match=str(BODY_LIMIT_BYTES)):
        client(server).models()


def test_a_dripping_body_ends_in_time(server: Any, leaps: Leaps) -> None:
    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.released.wait(0.02):
            leaps.ahead_s += 30.0
            handler.wfile.write(b" ")
            handler.wfile.flush()

    server.routes["/v1/models"] = drip
    with pytest.raises(ProtocolError, match="in time") as caught:
        client(server, timeout_s=100).models()
    assert caught.value.timed_out


def test_a_body_has_the_time_that_is_left_after_the_header(server: Any, leaps: Leaps) -> None:
    def late(handler: Any) -> None:
        leaps.ahead_s += 200.0
        handler.reply(200, {"data": [{"id": "demo"}]})

    server.routes["/v1/models"] = late
    with pytest.raises(ProtocolError, match="in time"):
        client(server, timeout_s=100).models()
    assert client(server, timeout_s=300).models()[0].id == "demo"


def test_silence_ends_in_time(server: Any) -> None:
    server.routes["/v1/models"] = lambda handler: server.released.wait()
    with pytest.raises(ProtocolError, match=r"within 0\.3 s"):
        client(server, timeout_s=0.3).models()


def test_a_body_that_is_cut_short(server: Any) -> None:
    def cut(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"data": [')

    server.routes["/v1/models"] = cut
    with pytest.raises(ProtocolError):
        client(server).models()


def test_nobody_listens() -> None:
    with pytest.raises(ProtocolError, match="connection refused") as caught:
        Client("http://127.0.0.1:1", None).models()
    assert caught.value.refused


def test_streamed_pieces_have_their_own_times(server: Any) -> None:
    read = threading.Semaphore(0)

    def paced(handler: Any) -> None:
        """The next piece is made 20 ms after the one before it was read, however late that was."""
        handler.send_response(200)
        handler.end_headers()
        for number in range(1, 6):
            event = {"choices": [{"delta": {"content": f"{number} "}}]}
            handler.wfile.write(b"data: " + json.dumps(event).encode() + b"\n")
            handler.wfile.flush()
            assert read.acquire(timeout=60)
            time.sleep(0.02)
        handler.wfile.write(b"data: [DONE]\n\n")

    def go_on(_: Answering) -> bool:
        read.release()
        return False

    server.routes["/v1/chat/completions"] = paced
    seen = client(server).stream(HELLO, model="demo", max_tokens=5, enough=go_on)
    assert seen.content == "1 2 3 4 5 "
    assert seen.finished
    assert all(later - earlier >= 0.02 for earlier, later in itertools.pairwise(seen.arrived_s))


def test_a_streamed_event_that_is_not_json(server: Any) -> None:
    server.routes["/v1/chat/completions"] = lambda handler: handler.reply(200, b"data: {broken\n\n")
    with pytest.raises(ProtocolError, match="not JSON"):
        client(server).stream(HELLO, model="demo", max_tokens=5)


def test_an_embedding_is_measured_and_checked(server: Any) -> None:
    assert client(server).embed("hello", model="demo") == 2
    server.routes["/v1/embeddings"] = lambda handler: handler.reply(200, {"data": [{"embedding": ["x"]}]})
    with pytest.raises(ProtocolError, match="vector"):
        client(server).embed("hello", model="demo")


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://h", "http://", "http://u:secret@h", "http://h:99999", "http://h?x=1"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(BadInputError) as caught:
        checked_url(url)
    assert "secret" not in caught.value.message


def test_addresses_are_taken_with_and_without_v1() -> None:
    assert {checked_url(f"http://h:8000{end}") for end in ("", "/", "/v1", "/v1/")} == {"http://h:8000"}


@pytest.mark.parametrize("key", ["se cret", "se\ncret", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_not_shown(key: str) -> None:
    with pytest.raises(BadInputError) as caught:
        checked_key(key)
    assert key not in caught.value.message + caught.value.hint


def test_a_key_with_the_end_of_its_line_is_usable() -> None:
    assert checked_key("abc\n") == "abc"
    assert checked_key(" \n") is None


def test_a_limit_ends_what_runs_beyond_it(server: Any) -> None:
    server.routes["/v1/models"] = lambda handler: server.released.wait()
    limited = client(server, timeout_s=100)
    limited.limit(0.3)
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(ProtocolError) as caught:
            limited.models()
        assert caught.value.timed_out
    assert time.monotonic() - began < 100


def test_a_body_that_stalls_has_run_out_of_time(server: Any) -> None:
    def stall(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.wfile.flush()
        server.released.wait()

    server.routes["/v1/models"] = stall
    with pytest.raises(ProtocolError, match="in time") as caught:
        client(server, timeout_s=2.0).models()
    assert caught.value.timed_out


@pytest.mark.parametrize(
    "document",
    [{}, {"data": 7}, {"data": [7]}, {"data": [{"embedding": "x"}]}, {"data": [{"embedding": [1], "index": []}]}],
)
def test_vectors_that_are_none(server: Any, document: Any) -> None:
    server.routes["/v1/embeddings"] = lambda handler: handler.reply(200, document)
    with pytest.raises(ProtocolError, match="no embedding vector"):
        client(server).vectors(["x"], model="demo")


@pytest.mark.parametrize("document", [{}, {"choices": 7}, {"choices": [7]}, {"choices": [{"index": 0}]}])
def test_texts_that_are_none(server: Any, document: Any) -> None:
    server.routes["/v1/completions"] = lambda handler: handler.reply(200, document)
    with pytest.raises(ProtocolError, match="choices"):
        client(server).complete(["x"], model="demo", max_tokens=1)
