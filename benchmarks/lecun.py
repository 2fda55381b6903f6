"""How do plain networks compare with the figures in the literature? Trains four and prints both.

python benchmarks/lecun.py --data_root data

LeCun et al. (1998), Gradient-based learning applied to document recognition, figure 9: plain
networks on MNIST without distortions. Simard et al. (2003), Best practices for convolutional
neural networks, table 1: 800 hidden units with cross-entropy. As there, all 60000 images are
trained on; no dropout, no distortions; the epochs and the rate are those of configs/mnist.yaml.
"""

import argparse
from pathlib import Path

from runs import append, train

RESULTS = Path(__file__).parent / "results" / "lecun.csv"
PAPERS = [
    ([300], 4.7, "LeCun 1998"),
    ([1000], 4.5, "LeCun 1998"),
    ([500, 150], 2.95, "LeCun 1998"),
    ([800], 1.6, "Simard 2003"),
]


def main() -> None:
    """Train the four networks and print a table of test errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'network':<16}{'paper':>20}{'torchmlp':>12}")
    for hidden, error, source in PAPERS:
        name = "-".join(str(width) for width in [784, *hidden, 10])
        flags = ["--config", "configs/mnist.yaml", "--data_root", options.data_root]
        flags += ["--model.dropout", "0", "--model.input_dropout", "0"]
        flags += ["--data.max_shift", "0", "--data.val_size", "0"]
        flags += ["--hidden", *(str(width) for width in hidden), "--seed", str(options.seed)]
        run = train(name, flags, options.seed)
        append(RESULTS, run)
        ours = 100 * (1 - run.test_accuracy)
        print(f"{name:<16}{f'{error:.2f} % ({source})':>20}{f'{ours:.2f} %':>12}", flush=True)


if __name__ == "__main__":
    main()
