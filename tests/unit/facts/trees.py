"""Files of a kernel from a compact text, below a folder of the test's own.

A tree file has these lines: `# comment`; `@ /folder` for what follows; `name = text` for a file of one line, in which
a backslash and 0 are a zero byte; `name <<` and the lines up to `>>` for a longer one; `name -> target` for a link; and
`name : mode group` for a device file (an ordinary file here). Only root can give a file to a group it is not in, so a
test compares groups with the file's own.
"""

import os
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).with_name("trees")


def lay_out(name: str, root: Path) -> Path:
    """Write the files of `trees/<name>.tree` below `root`, and give `root`."""
    lines = iter((FOLDER / f"{name}.tree").read_text().splitlines())
    folder = root
    for line in lines:
        if line.startswith("@ "):
            folder = root / line[2:].lstrip("/")
        elif line and not line.startswith("#"):
            _write(folder, line, lines)
    return root


def _write(folder: Path, line: str, lines: Iterator[str]) -> None:
    name, sign, rest = line.split(" ", 2) if line.count(" ") > 1 else (*line.split(" "), "")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    match sign:
        case "=":
            path.write_text(rest.replace("\\0", "\0") + ("" if rest.endswith("\\0") else "\n"))
        case "<<":
            path.write_text("".join(f"{text}\n" for text in iter(lambda: next(lines), ">>")))
        case "->":
            path.symlink_to(rest)
        case ":":
            _device(path, *rest.split())
        case _:
            raise ValueError(line)


def _device(path: Path, mode: str, group: str) -> None:
    path.write_text("")
    if os.geteuid() == 0:
        os.chown(path, -1, int(group))
    path.chmod(int(mode, 8))
