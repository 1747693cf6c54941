"""Reads every file of a folder in one process with little memory; prints one JSON line for each. Not a test.

`s` is processor time: a machine that stands still in between makes no file slow.
"""

import json
import resource
import sys
import time
from pathlib import Path

from deployer.errors import DeployerError
from deployer.models.gguf import read_file

LIMIT = 256 << 20


def _peak_mib() -> int:
    """Largest resident size of this program; ru_maxrss would still hold that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) >> 10


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    for path in sorted(Path(sys.argv[1]).iterdir()):
        start = time.process_time()
        try:
            read_file(path)
            kind, message = "accepted", ""
        except DeployerError as error:
            kind, message = type(error).__name__, error.message + error.hint
        seconds = time.process_time() - start
        peak_mib = _peak_mib()
        print(json.dumps({"name": path.name, "kind": kind, "message": message, "s": seconds, "peak_mib": peak_mib}))
