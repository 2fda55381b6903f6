"""The entry point: `python train.py --help`."""

import sys

if __name__ == "__main__":
    try:
        from torchmlp.cli import main

        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
