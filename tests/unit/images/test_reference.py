import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.errors import BadInputError
from deployer.images import parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("debian", "docker.io", "library/debian", "latest", None),
        ("vllm/vllm-openai:v0.33.0", "docker.io", "vllm/vllm-openai", "v0.33.0", None),
        ("docker.io/debian:sid", "docker.io", "library/debian", "sid", None),
        ("index.docker.io/library/debian", "docker.io", "library/debian", "latest", None),
        ("ghcr.io/ggml-org/llama.cpp:server", "ghcr.io", "ggml-org/llama.cpp", "server", None),
        ("localhost/x", "localhost", "x", "latest", None),
        ("localhost:5000/x:1", "localhost:5000", "x", "1", None),
        ("127.0.0.1:5000/a/b/c:1.2-x_y", "127.0.0.1:5000", "a/b/c", "1.2-x_y", None),
        ("[::1]:5000/x:1", "[::1]:5000", "x", "1", None),
        (f"ghcr.io/a/b@{DIGEST}", "ghcr.io", "a/b", None, DIGEST),
        (f"ghcr.io/a/b:tag@{DIGEST}", "ghcr.io", "a/b", "tag", DIGEST),
        (f"debian@{DIGEST}", "docker.io", "library/debian", None, DIGEST),
    ],
)
def test_names_are_read_as_docker_reads_them(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    found = parse_reference(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, digest)
    assert found.selector == (digest or tag)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-rf",
        "--help",
        "A/b",
        "a b",
        "a:",
        "a:b c",
        "a@sha256:short",
        f"a@{DIGEST}\n",
        "a//b",
        "/a",
        "a/",
        "a/../b",
        "http://ghcr.io/a",
        "a:" + "t" * 129,
        "a" * 300,
        "ghcr.io/a@",
        "x\n--privileged",
        "$(id)",
        DIGEST,
    ],
)
def test_what_docker_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="is not the name of an image"):
        parse_reference(text)


@given(st.text(max_size=80))
def test_an_accepted_name_is_safe_on_a_command_line(text: str) -> None:
    try:
        found = parse_reference(text)
    except BadInputError:
        return
    name = f"{found.name}:{found.selector}"
    assert not name.startswith("-")
    assert name.isascii()
    assert not set(name) & set(" \t\n\r'\"$`\\;&|<>*?()")
