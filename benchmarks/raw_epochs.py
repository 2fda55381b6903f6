"""Epochs of the engine in a bare loop over data in memory: what Lightning's epochs are held to.

python benchmarks/raw_epochs.py --data_root data --epochs 3
"""

import argparse
import json
import os
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as train.py has it

import torch

from torchmlp import MLP, Engine
from torchmlp.data import Batches, load_images
from torchmlp.data.split import split_validation


def main() -> None:
    """Train 784-width-10 as `train.py fit` would by default, without schedule or validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default="data")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    images = load_images("mnist", options.data_root, "full", download=False)
    count = len(images.train_labels)
    train, _ = split_validation(count, count // 10, seed=0)
    batches = Batches(
        images.train_images[train], images.train_labels[train], options.batch_size, shuffle=True
    )
    torch.manual_seed(0)
    model = MLP(784, options.width, 10)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    engine = Engine(model, "cross_entropy", sgd)
    for _ in range(options.epochs):
        cpu, wall = time.process_time(), time.perf_counter()
        for x, labels in batches:
            engine.step(x, labels)
        measured = {
            "cpu_s": time.process_time() - cpu,
            "wall_s": time.perf_counter() - wall,
            "steps": len(batches),
        }
        print("EPOCH", json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
