"""One server that several tests ask: brought up once for a module, and everything about it that must hold."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

from tests.integration.conftest import NAME_LABEL, Deployer, end_processes, free_port, remove_containers

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

UP_LIMIT_S = 900
CAPITAL: Any = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France?"},
]


@dataclass(frozen=True)
class Served:
    """What `up` said, and with what it was asked."""

    deployer: Deployer
    document: dict[str, Any]
    asked: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def key(self) -> str:
        return Path(self.document["key_file"]).read_text().strip()

    def run(self, *args: str) -> Any:
        """The one JSON document of a verb that ended with 0."""
        return self.deployer(*args, "--json", env=self.env, timeout_s=UP_LIMIT_S).ok().json()

    def logs(self) -> str:
        return self.deployer("logs", self.name, env=self.env).ok().stdout

    def container(self, engine: "docker.DockerClient") -> "Container":
        (found,) = engine.containers.list(all=True, filters={"label": f"{NAME_LABEL}={self.name}"})
        return found

    def ask(self, key: str | None = None) -> str:
        """The OpenAI client's answer to the capital of France."""
        with openai.OpenAI(base_url=self.document["base_url"], api_key=key or self.key, max_retries=0) as client:
            answer = client.chat.completions.create(
                model=self.document["model"], messages=CAPITAL, max_tokens=24, temperature=0
            )
        return answer.choices[0].message.content or ""

    def files(self) -> str:
        """Everything of the release and the record that is on disk, but for the secrets."""
        found = (file for file in self.deployer.home.rglob("*") if file.is_file() and "secrets" not in file.parts)
        return "\n".join(file.read_text(errors="replace") for file in found)


@contextlib.contextmanager
def serving(
    engine: "docker.DockerClient", name: str, *asked: str, env: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Bring a deployment up in a home of its own; at the end nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="deployer-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    for part in ("home", "work"):
        (folder / part).mkdir(mode=0o755)
    command = Deployer(folder / "home")
    words = (*asked, "--name", name, "--port", str(free_port()))
    try:
        up = command("up", *words, "--yes", "--json", env=env, timeout_s=UP_LIMIT_S).ok()
        yield Served(command, up.json(), words, env or {})
    finally:
        command("down", name, "--yes", env=env)
        remove_containers(engine, command.home)
        end_processes(command.home)
        shutil.rmtree(folder)


def arguments_of_all_processes() -> str:
    """The command lines of everything that runs on this machine, in containers too."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            lines.append((folder / "cmdline").read_text(errors="replace").replace("\0", " "))
    return "\n".join(lines)


def resident_mib(container: "Container") -> int:
    """Memory of a container without the page cache, as `docker stats` counts it."""
    document: Any = container.stats(stream=False)
    usage = document["memory_stats"]
    return int(usage["usage"] - usage["stats"].get("inactive_file", 0)) // (1024 * 1024)
