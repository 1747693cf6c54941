"""The real program, begun against a scripted server, so that a test can interrupt it."""

import os
import subprocess
import sys
from pathlib import Path


def begun(verb: str, url: str, key: str, home: Path, *args: str) -> subprocess.Popen[str]:
    """Start `deployer VERB --url … --key-file …` with a home of its own, without a terminal."""
    file = home / "key"
    file.write_text(f"{key}\n")
    return subprocess.Popen(
        [sys.executable, "-m", "deployer", verb, "--url", f"{url}/v1/", "--key-file", str(file), *args],
        env={**os.environ, "DEPLOYER_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
