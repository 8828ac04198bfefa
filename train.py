"""Train an encoder on coarse labels: `python train.py --help`."""

import sys

from ancor.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
