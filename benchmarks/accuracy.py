"""Which accuracy does a configuration reach, over seeds? Runs train.py as a user does.

python benchmarks/accuracy.py configs/mnist.yaml --seeds 0 1 2 --data_root data
"""

import argparse
from pathlib import Path
from statistics import mean

from runs import Run, append, train

RESULTS = Path(__file__).parent / "results" / "accuracy.csv"


def main() -> None:
    """Train once per seed, print and store a row for each, print the mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data_root", default="data")
    options = parser.parse_args()
    runs: list[Run] = []
    for seed in options.seeds:
        flags = ["--config", str(options.config), "--data_root", options.data_root]
        run = train(options.config.stem, [*flags, "--seed", str(seed)], seed)
        append(RESULTS, run)
        print(f"seed {seed}: test accuracy {run.test_accuracy:.4f}, {run.training_s:.1f} s")
        runs.append(run)
    accuracy, seconds = (mean(r.test_accuracy for r in runs), mean(r.training_s for r in runs))
    print(f"{options.config}: mean test accuracy {accuracy:.4f}, mean training {seconds:.1f} s")


if __name__ == "__main__":
    main()
