"""The command line with a server that loses its processor: `python -m tests.integration.slowed CPUS NAME up MODEL`.

The moment the gate says that the server is ready, and before it asks the first question, the container `NAME` keeps
`CPUS` of a processor. The gate, the server, its release and the exit code are the real ones.
"""

import subprocess
import sys
from unittest import mock

from deployer.cli import main, output

CPUS, NAME = sys.argv[1:3]
FIND = ("docker", "ps", "--quiet", "--no-trunc", "--filter", f"label=io.deployer.name={NAME}")


class Slowing(output.Progress):
    """Takes the processor away once: what comes back after it has all of it."""

    done_it = False

    def detail(self, text: str) -> None:
        """A line of progress inside the step."""
        if text.startswith("ready after") and not Slowing.done_it:
            Slowing.done_it = True
            (container,) = subprocess.run(FIND, check=True, capture_output=True, text=True).stdout.split()
            subprocess.run(("docker", "update", "--cpus", CPUS, container), check=True, capture_output=True)
        super().detail(text)


if __name__ == "__main__":
    sys.argv = ["deployer", *sys.argv[3:]]
    with mock.patch.object(output, "Progress", Slowing):
        main()
