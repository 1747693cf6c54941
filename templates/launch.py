"""Start an engine that has no way to read its API key from a file, or that writes the key to its log.

    python3 launch.py KEY_FILE VARIABLE PROGRAM [ARGUMENT...]

The key is read from its file here, inside the container: it is in no argument list and not in `docker inspect`. The
program alone gets it, in the environment VARIABLE (`-`: it has another way). What the program writes is passed on with
the key replaced by [key]. Signals are passed on, and the exit status is the program's (128 + signal when killed).
"""

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

MARK = b"[key]"
BLOCK = 65536
DRAIN_S = 1.0  # a process that outlives the program may keep the pipe open: nothing came for so long
DRAIN_MOST_S = 10.0  # whoever reads the log may be slow, but a program that ended is told in time


def main(key_file: str, variable: str, *argv: str) -> int:
    """Run the program to its end; returns its exit status."""
    key = Path(key_file).read_bytes().strip()
    if not key:
        sys.stderr.write(f"launch.py: {key_file} holds no key\n")
        return 1
    own = {} if variable == "-" else {variable.encode(): key}
    try:
        server = subprocess.Popen(
            argv, env={**os.environb, **own}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        sys.stderr.write(f"launch.py: {argv[0]}: {error.strerror}\n")
        return 127
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: server.send_signal(received))
    ended = threading.Event()
    copier = threading.Thread(target=copy, args=(server.stdout.fileno(), 1, key, ended), daemon=True)
    copier.start()
    status = server.wait()
    ended.set()
    copier.join(DRAIN_MOST_S)
    return 128 - status if status < 0 else status


def copy(reader: int, writer: int, key: bytes, ended: threading.Event) -> None:
    """Pass on all that comes, the key replaced. A possible beginning of it waits for what follows."""
    rest = b""
    while chunk := read(reader, ended):
        text = (rest + chunk).replace(key, MARK)
        end = len(text) if text.endswith(b"\n") else max(len(text) - len(key) + 1, 0)
        write(writer, text[:end])
        rest = text[end:]
    write(writer, rest)


def read(reader: int, ended: threading.Event) -> bytes:
    """What comes next; nothing at the end, and when nothing has come for DRAIN_S after the program ended."""
    while True:
        last = ended.is_set()
        if select.select([reader], [], [], DRAIN_S)[0]:
            return os.read(reader, BLOCK)
        if last:
            return b""


def write(writer: int, data: bytes) -> None:
    """Write all of it: a pipe may take less at once."""
    while data:
        data = data[os.write(writer, data) :]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
