"""Which mistakes `watch` names in training scripts, and in which line; what it says of right ones.

python benchmarks/watch/watch_scripts.py [development|held_out|silent] [part of a file's name]

Each script of cases.toml is run by `python -m torchmlp watch`, two at a time, and the first finding
is compared with what the table expects. One row for each goes to benchmarks/results/watch.csv where
all sets are measured in one go. The rules were made on the first set and judged on the second; the
third shows published errors that passed in silence. The first look at the second set is kept in
benchmarks/results/watch_first_look.csv.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "watch.csv"
SETS = ("development", "held_out", "silent")
FIELDS = ("set", "file", "cause", "found", "perhaps", "right", "line", "line_right", "seconds")


def as_list(value: Any) -> list[str]:
    """What may be one text or several."""
    return [value] if isinstance(value, str) else value


def watched(case: dict[str, Any]) -> dict[str, Any]:
    """A row: what watch says of a script, and whether that is right."""
    path = HERE / case["file"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["-m", "torchmlp", "watch", "--json", str(report), str(path)]
        began = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        seconds = time.perf_counter() - began
        if not report.exists():
            sys.exit(f"{path}: exit code {ended.returncode}\n{ended.stderr.decode()}")
        said = json.loads(report.read_text(encoding="utf-8"))
    expected = [cause for cause in as_list(case["cause"]) if cause]
    found = [finding["cause"] for finding in said["findings"]]
    line = ""
    if found and said["findings"][0]["file"]:
        text = Path(said["findings"][0]["file"]).read_text(encoding="utf-8").splitlines()
        line = text[said["findings"][0]["line"] - 1].strip()
    return {
        "set": case["set"],
        "file": case["file"],
        "cause": " ".join(expected),
        "found": " ".join(found),
        "perhaps": " ".join(finding["cause"] for finding in said["perhaps"]),
        "right": found[0] in expected if found and expected else bool(found) == bool(expected),
        "line": line,
        "line_right": line in as_list(case["line"]) if expected else "",
        "seconds": f"{seconds:.1f}",
    }


def main(words: list[str]) -> int:
    """Measure, print what is not right and the counts, write the rows."""
    cases = tomllib.loads((HERE / "cases.toml").read_text(encoding="utf-8"))["script"]
    sets = [s for s in SETS if not words or words[0] == s]
    cases = [c for c in cases if c["set"] in sets and all(w in c["file"] for w in words[1:2])]
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(watched, cases))
    for row in rows:
        if not row["right"] or row["line_right"] is False:
            print(*(f"{field} {row[field]!r}" for field in FIELDS[1:-1]), flush=True)
    for name in sets:
        broken = [row for row in rows if row["set"] == name and row["cause"]]
        healthy = [row for row in rows if row["set"] == name and not row["cause"]]
        print(
            f"{name}: {sum(r['right'] for r in broken)} of {len(broken)} causes, "
            f"{sum(bool(r['right'] and r['line_right']) for r in broken)} with the line; "
            f"{sum(not r['right'] for r in healthy)} false alarms and "
            f"{sum(bool(r['perhaps']) for r in healthy)} perhaps on {len(healthy)} right scripts"
        )
    if not words:
        with RESULTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
