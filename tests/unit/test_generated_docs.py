"""Pages that are made from the profiles are current."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_engines_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate-docs", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
