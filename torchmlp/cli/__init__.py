"""The command line."""

from torchmlp.cli.main import main

__all__ = ["main"]
