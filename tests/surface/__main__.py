"""python -m tests.surface: write the files anew."""

import tempfile
from pathlib import Path

from tests.surface.seen import FILES, everything

with tempfile.TemporaryDirectory() as folder:
    for name, text in everything(Path(folder)).items():
        (FILES / name).parent.mkdir(exist_ok=True)
        (FILES / name).write_text(text(), encoding="utf-8")
