"""Random sequences of changes under an engine.

python -m tests.engine.fuzzer --changes 2000
"""

import argparse
import random
import sys
from collections import Counter

import torch

from tests.engine.changes import FOLLOWED, REFUSED, compare, made


def fuzz(changes: int, seed: int) -> Counter[str]:
    """So many changes in runs of up to five, each followed by a step beside autograd's.

    Returns:
        How many steps were alike, refused, and others.
    """
    draw = random.Random(seed)
    counts: Counter[str] = Counter(alike=0, refused=0, differs=0)
    before = torch.get_num_threads()
    while sum(counts.values()) < changes:
        run = made(
            adam=draw.random() < 0.3,
            native=draw.choice([None, None, False]),
            seed=draw.randrange(2**31),
        )
        done: list[str] = []
        for k in range(length := draw.randint(1, 5)):
            # After one that has to be refused a run is over.
            is_last = k == length - 1
            name = draw.choice([*FOLLOWED, *REFUSED] if is_last else list(FOLLOWED))
            done.append(name)
            change = FOLLOWED[name] if name in FOLLOWED else REFUSED[name][0]
            try:
                change(run)
                reason = compare(run)
                wrong = "" if bool(reason) == (name in REFUSED) else f"refused: {reason or 'not'}"
            except Exception as error:  # noqa: BLE001  whatever it is, it is told with its cause
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                counts["differs"] += 1
                sys.stderr.write(f"{' > '.join(done)}: {wrong}\n")
                break
            counts["refused" if reason else "alike"] += 1
    torch.set_num_threads(before)
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--changes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = fuzz(options.changes, options.seed)
    counted = ", ".join(f"{count} {what}" for what, count in found.items())
    sys.stdout.write(f"{sum(found.values())} changes: {counted}\n")
    sys.exit(bool(found["differs"]))
