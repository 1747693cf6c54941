"""Hardware-aware deployment of LLM servers."""

__version__ = "0.1.0"
