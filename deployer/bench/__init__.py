"""Five measurements of any OpenAI-compatible server, by the same definitions, and their comparison."""

from deployer.bench.definitions import DEFINITIONS, VERSION
from deployer.bench.marks import strangers
from deployer.bench.memory import Reading
from deployer.bench.reply import Ask, Question, Reply, Stopped
from deployer.bench.report import bundle, run_file, run_file_name
from deployer.bench.run import Measured, Watch, run

__all__ = [
    "DEFINITIONS",
    "VERSION",
    "Ask",
    "Measured",
    "Question",
    "Reading",
    "Reply",
    "Stopped",
    "Watch",
    "bundle",
    "run",
    "run_file",
    "run_file_name",
    "strangers",
]
