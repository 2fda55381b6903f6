"""How many hand-written networks are verified as they stand, and how many planted mistakes named.

python benchmarks/styles/verify_styles.py [development|held_out|judged] [part of a file's name]

Each file of the collection is verified as it is (it is right) and with each of its planted mistakes
(mistakes.toml and judged.toml say which text is replaced, and what may be said of it). One row for
each goes to benchmarks/results/styles.csv where all three sets are measured in one go. The rules
were made on the first set, mended after a look at the second, and judged on the third.
"""

import csv
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path
from shutil import copytree
from typing import Any

from torchmlp import verify

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "styles.csv"
FIELDS = (
    *("set", "file", "style", "mistake", "expected", "verdict", "named", "layer", "right"),
    "seconds",
)


def outcome(path: Path, entry: str, expected: list[str], layer: Any) -> dict[str, Any]:
    """What verify says of a file, and whether that is right."""
    began = time.perf_counter()
    try:
        report = verify(f"{path}")
        verdict, found, said = report.verdict, report.mistakes, str(report)
    except ValueError as error:
        verdict, found, said = "not judged", [], str(error)
        if "several networks" in said:  # a teacher names the one that the exercise is about
            try:
                report = verify(f"{path}:{entry}")
                verdict, found, said = report.verdict, report.mistakes, str(report)
            except ValueError as again:
                said = str(again)
    seconds = time.perf_counter() - began
    names = [m.name for m in found]
    layers = [m.layer for m in found if m.name in expected]
    # The catalogue counts a weight by its own layer, the collection the delta by the one below it.
    right = verdict == "right" if not expected else bool(layers)
    return {
        "verdict": verdict,
        "named": " ".join(names),
        "layer": " ".join(str(one) for one in layers) + f" ({layer})" if expected else "",
        "right": right,
        "seconds": f"{seconds:.2f}",
        "said": said,
    }


def main(words: list[str]) -> int:
    """Measure, print a table, write the rows."""
    table: dict[str, Any] = {"files": {}, "mistake": []}
    for toml in ("mistakes.toml", "judged.toml"):
        part = tomllib.loads((HERE / toml).read_text(encoding="utf-8"))
        table["files"] |= part["files"]
        table["mistake"] += part["mistake"]
    sets = [s for s in ("development", "held_out", "judged") if not words or words[0] == s]
    rows: list[dict[str, Any]] = []
    for name, about in table["files"].items():
        in_set = name.split("/")[0]
        if in_set not in sets or not all(re.search(w, name) for w in words[1:2]):
            continue
        planted: list[dict[str, Any]] = [{"name": "", "expected": [], "layer": ""}]
        planted += [m for m in table["mistake"] if m["file"] == name]
        for mistake in planted:
            with tempfile.TemporaryDirectory() as folder:
                copy = copytree((HERE / name).parent, Path(folder) / "files")
                path = Path(copy) / Path(name).name
                if mistake["name"]:
                    text = path.read_text(encoding="utf-8")
                    assert text.count(mistake["old"]) == 1, (name, mistake["name"])
                    path.write_text(text.replace(mistake["old"], mistake["new"]), encoding="utf-8")
                found = outcome(path, about["entry"], mistake["expected"], mistake["layer"])
            said = found.pop("said")
            row = {"set": in_set, "file": name, "style": about["style"], "mistake": mistake["name"],
                   "expected": " ".join(mistake["expected"]), **found}  # fmt: skip
            rows.append(row)
            mark = "  " if row["right"] else "!!"
            shown = [row[field] for field in ("verdict", "named", "layer", "seconds")]
            print(mark, name, row["mistake"] or "(right)", "->", *shown, flush=True)
            if len(words) > 1 or (not row["right"] and not row["mistake"]):
                print(said)
    for in_set in sets:
        mine = [row for row in rows if row["set"] == in_set]
        bases = [row for row in mine if not row["mistake"]]
        wrong = [row for row in mine if row["mistake"]]
        verdicts = Counter(row["verdict"] for row in wrong)
        accepted = f"{sum(r['right'] for r in bases)} of {len(bases)} right files are accepted"
        named = f"{sum(r['right'] for r in wrong)} of {len(wrong)} mistakes named"
        longest = max(float(r["seconds"]) for r in mine)
        print(f"{in_set}: {accepted}, {named}; {dict(verdicts)}; longest {longest:.1f} s")
    if not words:
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
