"""The entry point in a checkout: `python train.py --help`."""

from torchmlp.__main__ import program

if __name__ == "__main__":
    program()
