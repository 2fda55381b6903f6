from pathlib import Path

import numpy as np
import torch


def pictures(split="train", n=1500, size=14):
    path = next(Path(__file__).resolve().parents[3].glob("*/data/images/digits.npz"))
    d = np.load(path)
    k = 28 // size
    x = d[split + "_images"][:n].reshape(n, size, k, size, k).mean((2, 4)).astype(np.float32) / 255
    return torch.from_numpy(x).unsqueeze(1), torch.from_numpy(d[split + "_labels"][:n].astype(np.int64))
