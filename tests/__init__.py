"""The tests, one file for each of the package's, under the same names."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
