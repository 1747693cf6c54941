import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from deployer import images
from deployer.errors import BadInputError, ImageUnavailableError, VerificationError
from deployer.images import EngineSettings, RegistryAnswer
from deployer.images.credentials import login_for

ENVIRONMENT = ["CUDA_VERSION=12.8.1", "NVIDIA_REQUIRE_CUDA=cuda>=12.8", "PATH=/bin"]


def registry_digest(reference: str, timeout_s: float = 60, settings: EngineSettings | None = None) -> RegistryAnswer:
    """Ask with more time than a user gives it, for a machine that stands still for some seconds."""
    return images.registry_digest(reference, timeout_s, settings)


def registry_config(reference: str, **options: Any) -> images.ImageConfig:
    return images.registry_config(reference, timeout_s=60, **options)


def write_login(folder: Path, config: object) -> None:
    (folder / "docker-config").mkdir(exist_ok=True)
    (folder / "docker-config" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def test_the_digest_of_a_tag(registry: Any) -> None:
    digest = registry.image("team/app", "v1", ENVIRONMENT)
    answer = registry_digest(f"{registry.host}/team/app:v1")
    assert (answer.digest, answer.cause, answer.error) == (digest, None, None)
    command, path, headers = registry.requests[0]
    assert (command, path) == ("HEAD", "/v2/team/app/manifests/v1")
    assert "application/vnd.oci.image.index.v1+json" in headers["Accept"]
    assert "application/vnd.docker.distribution.manifest.list.v2+json" in headers["Accept"]


def test_the_digest_is_computed_where_the_registry_does_not_say_it(registry: Any) -> None:
    digest = registry.image("app", "v1", ENVIRONMENT)
    registry.digest_header = False
    assert registry_digest(f"{registry.host}/app:v1").digest == digest
    registry.head_allowed = False
    assert registry_digest(f"{registry.host}/app:v1").digest == digest


@pytest.mark.parametrize(
    ("status", "cause"),
    [(404, "not-found"), (403, "unauthorised"), (429, "rate-limited"), (500, "broken"), (302, "broken")],
)
def test_answers_that_are_no_digest(registry: Any, status: int, cause: str) -> None:
    registry.status = status
    answer = registry_digest(f"{registry.host}/app:v1")
    assert (answer.digest, answer.cause) == (None, cause)
    assert registry.host in (answer.error or "")
    assert answer.hint


def test_a_registry_that_lies_about_its_digest_is_broken(registry: Any) -> None:
    registry.documents["/v2/app/manifests/v1"] = ("x", b"{}")
    registry.answer = lambda *_: (200, {"Docker-Content-Digest": "sha256:short"}, b"")
    assert registry_digest(f"{registry.host}/app:v1").cause == "broken"


def test_an_anonymous_token_is_fetched_and_sent(registry: Any) -> None:
    registry.login = "bearer"
    digest = registry.image("team/app", "v1", ENVIRONMENT)
    assert registry_digest(f"{registry.host}/team/app:v1").digest == digest
    paths = [path for _, path, _ in registry.requests]
    assert paths == [
        "/v2/team/app/manifests/v1",
        "/token?scope=repository%3Ateam%2Fapp%3Apull&service=test",
        "/v2/team/app/manifests/v1",
    ]


@pytest.mark.parametrize("login", ["bearer", "basic"])
def test_a_stored_login_is_used(registry: Any, login: str, tmp_path: Path) -> None:
    registry.login, registry.user = login, "alice:s3cret:x"
    digest = registry.image("app", "v1", ENVIRONMENT)
    refused = registry_digest(f"{registry.host}/app:v1")
    assert refused.cause == "unauthorised"
    assert "docker login" in refused.hint
    write_login(tmp_path, {"auths": {registry.host: {"auth": "YWxpY2U6czNjcmV0Ong="}}})
    assert registry_digest(f"{registry.host}/app:v1").digest == digest
    assert "s3cret" not in repr(login_for(registry.host))
    assert login_for("ghcr.io").user is None


def test_a_wrong_login_is_refused_without_telling_it(registry: Any, tmp_path: Path) -> None:
    registry.login, registry.user = "bearer", "alice:right"
    write_login(tmp_path, {"auths": {registry.host: {"auth": "YWxpY2U6d3Jvbmc="}}, "credsStore": "desktop"})
    answer = registry_digest(f"{registry.host}/app:v1")
    assert (answer.cause, answer.in_helper) == ("unauthorised", True)
    assert "wrong" not in repr(answer)


@pytest.mark.parametrize("config", ["", "[]", "{", '{"auths": 5}', '{"auths": {"HOST": {"auth": "%%"}}}', "[" * 99999])
def test_a_damaged_docker_config_is_no_login(registry: Any, tmp_path: Path, config: str) -> None:
    write_login(tmp_path, config.replace("HOST", registry.host))
    assert login_for(registry.host).user is None


def test_a_login_never_goes_to_a_plain_address_for_https(registry: Any) -> None:
    registry.login, registry.realm = "bearer", "ftp://elsewhere/token"
    answer = registry_digest(f"{registry.host}/app:v1")
    assert answer.cause == "broken"
    assert "not https" in (answer.error or "")


def test_a_login_in_netrc_is_not_taken(registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    registry.image("app", "v1", ENVIRONMENT)
    registry_digest(f"{registry.host}/app:v1")
    assert all("Authorization" not in headers for _, _, headers in registry.requests)


def test_nobody_listening_is_an_answer_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody else gets this port
        answer = registry_digest(f"127.0.0.1:{taken.getsockname()[1]}/app:v1")
    assert answer.cause == "unreachable"
    assert "the connection is refused" in (answer.error or "")


def test_a_silent_registry_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer = registry_digest(f"127.0.0.1:{server.getsockname()[1]}/app:v1", timeout_s=0.5)
    assert answer.cause == "unreachable"
    assert "did not answer" in (answer.error or "")


def test_a_dripping_registry_is_given_up_in_time(registry: Any) -> None:
    def drip(command: str, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.4)
        return 302, {"Location": path + "x"}, b""

    registry.answer = drip
    answer = registry_digest(f"{registry.host}/app:v1", timeout_s=1)
    assert answer.cause == "unreachable"  # after 30 redirects, which are 12 s, it would be "broken"


def test_a_mirror_of_docker_hub_is_asked_first(registry: Any) -> None:
    digest = registry.image("library/debian", "sid", ENVIRONMENT)
    settings = EngineSettings(mirrors=(f"http://{registry.host}",))
    assert registry_digest("debian:sid", settings=settings).digest == digest


def test_the_engines_proxy_is_used_but_not_for_loopback(registry: Any) -> None:
    seen: list[str] = []

    def proxy(command: str, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        seen.append(path)
        return 404, {}, b""

    registry.answer = proxy
    settings = EngineSettings(proxies={"http": f"http://{registry.host}"}, insecure=("10.255.255.1:5000",))
    answer = registry_digest("10.255.255.1:5000/app:v1", settings=settings)
    assert seen == ["http://10.255.255.1:5000/v2/app/manifests/v1"]
    assert answer.cause == "not-found"
    registry_digest(f"{registry.host}/app:v1", settings=settings)
    assert seen[1:] == ["/v2/app/manifests/v1"]


def test_the_environments_proxy_is_honoured(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://{registry.host}")
    registry.status = 404
    answer = registry_digest("10.255.255.1:5000/app:v1", settings=EngineSettings(insecure=("10.255.255.0/24",)))
    assert answer.cause == "not-found"


@pytest.mark.parametrize(
    ("host", "insecure"),
    [
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("[::1]:5000", True),
        ("ghcr.io", False),
        ("10.1.2.3:5000", False),
        ("10.9.2.3:5000", True),
        ("mine:5000", True),
        ("mine", False),
        ("localhost.example.com", False),
    ],
)
def test_plain_http_only_where_the_engine_allows_it(host: str, insecure: bool) -> None:
    assert EngineSettings(insecure=("mine:5000", "10.9.0.0/16", "nonsense")).is_insecure(host) is insecure


def test_the_config_is_read_without_a_layer(registry: Any) -> None:
    digest = registry.image("app", "v1", ENVIRONMENT)
    found = registry_config(f"{registry.host}/app:v1", architecture="amd64")
    assert (found.digest, found.cuda, found.cuda_requirement) == (digest, "12.8.1", "cuda>=12.8")
    assert (found.architecture, found.labels, found.download_mib) == ("amd64", {"a": "b"}, 4)
    assert registry_config(f"{registry.host}/app@{digest}", architecture="amd64") == found
    assert not [path for _, path, _ in registry.requests if "1" * 64 in path]


def test_an_image_for_another_processor(registry: Any) -> None:
    registry.image("app", "v1", [], architecture="arm64")
    with pytest.raises(ImageUnavailableError, match="no image for linux/amd64; it has: arm64") as caught:
        registry_config(f"{registry.host}/app:v1", architecture="amd64")
    assert caught.value.details["cause"] == "wrong-platform"


def test_documents_that_are_not_what_their_digest_says(registry: Any) -> None:
    digest = registry.image("app", "v1", ENVIRONMENT)
    for path, (kind, data) in list(registry.documents.items()):
        if "/blobs/sha256:" in path:
            registry.documents[path] = (kind, data + b" ")
    with pytest.raises(VerificationError, match="the registry gave"):
        registry_config(f"{registry.host}/app:v1", architecture="amd64")
    registry.documents[f"/v2/app/manifests/{digest}"] = ("x", b"{}")
    with pytest.raises(VerificationError):
        registry_config(f"{registry.host}/app@{digest}", architecture="amd64")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"manifests": 5}', b"[" * 99999, b'{"config": {"digest": "x"}}'])
def test_a_damaged_description_is_broken(registry: Any, body: bytes) -> None:
    registry.put("app/manifests/v1", "x", body)
    with pytest.raises(ImageUnavailableError) as caught:
        registry_config(f"{registry.host}/app:v1")
    assert caught.value.details["cause"] == "broken"


def test_an_endless_description_is_cut_off(registry: Any) -> None:
    registry.put("app/manifests/v1", "x", b" " * (4 * 1024 * 1024 + 1))
    with pytest.raises(ImageUnavailableError, match="is larger than"):
        registry_config(f"{registry.host}/app:v1")


def test_a_name_that_cannot_be_read_is_bad_input() -> None:
    with pytest.raises(BadInputError):
        registry_digest("--help")


def test_no_such_host() -> None:
    answer = registry_digest("registry.invalid/app:v1", timeout_s=5)
    assert answer.cause == "unreachable"
    assert "registry.invalid" in (answer.error or "")
