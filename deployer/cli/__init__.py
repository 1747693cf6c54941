"""The command line: parse, call the workflow, print."""

from deployer.cli.entry import main

__all__ = ["main"]
