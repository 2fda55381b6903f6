"""Pictures of digits, averaged down to 7 x 7 and standardised."""
import pathlib
import numpy as np


def load(split: str, limit: int):
    here = pathlib.Path(__file__).resolve()
    path = next(here.parents[4].glob("*/data/images/digits.npz"))
    with np.load(path) as archive:
        images = archive[f"{split}_images"][:limit]
        labels = archive[f"{split}_labels"][:limit]
    small = images.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)) / 255.0
    small = (small - 0.13) / 0.22
    return small.astype("float32"), labels.astype("int64")
