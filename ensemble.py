"""Score encoders by the mean of their probabilities: `python ensemble.py --help`."""

import sys

from ancor.cli.eval import main

if __name__ == "__main__":
    sys.exit(main(name="ensemble"))
