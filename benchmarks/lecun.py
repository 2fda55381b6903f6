"""How do plain networks compare with the figures in the literature? Trains them and prints both.

python benchmarks/lecun.py --data_root data
python benchmarks/lecun.py --data_root data --networks "784-800-10, elastic"

LeCun et al. (1998), Gradient-based learning applied to document recognition, figure 9: plain
networks on MNIST without distortions. Simard et al. (2003), Best practices for convolutional
neural networks, table 1: 800 hidden units with cross-entropy, without distortions and with elastic
ones. As there, all 60000 images are trained on. Without distortions, and without dropout, the
epochs and the rate are those of configs/mnist.yaml; with them all is that of
configs/mnist_elastic.yaml but the network.
"""

import argparse
from pathlib import Path

from runs import append, train

RESULTS = Path(__file__).parent / "results" / "lecun.csv"
PLAIN = [
    *("--config", "configs/mnist.yaml", "--model.dropout", "0", "--model.input_dropout", "0"),
    *("--data.max_shift", "0", "--data.elastic_alpha", "0"),
    *("--data.max_rotation", "0", "--data.max_scale", "0"),
]
ELASTIC = ["--config", "configs/mnist_elastic.yaml"]
PAPERS = {
    "784-300-10": ([300], PLAIN, 4.7, "LeCun 1998"),
    "784-1000-10": ([1000], PLAIN, 4.5, "LeCun 1998"),
    "784-500-150-10": ([500, 150], PLAIN, 2.95, "LeCun 1998"),
    "784-800-10": ([800], PLAIN, 1.6, "Simard 2003"),
    "784-800-10, elastic": ([800], ELASTIC, 0.7, "Simard 2003"),
}


def main() -> None:
    """Train the networks and print a table of test errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--networks", nargs="+", choices=PAPERS, default=list(PAPERS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'network':<20}{'paper':>20}{'torchmlp':>12}")
    for name in options.networks:
        hidden, recipe, error, source = PAPERS[name]
        flags = [*recipe, "--data_root", options.data_root, "--data.val_size", "0"]
        flags += ["--hidden", *(str(width) for width in hidden), "--seed", str(options.seed)]
        run = train(name, flags, options.seed)
        append(RESULTS, run)
        ours = 100 * (1 - run.test_accuracy)
        print(f"{name:<20}{f'{error:.2f} % ({source})':>20}{f'{ours:.2f} %':>12}", flush=True)


if __name__ == "__main__":
    main()
