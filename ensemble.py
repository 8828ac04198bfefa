"""Score encoders by the mean of their probabilities: `python ensemble.py --help`."""

import sys

from ancor.cli.ensemble import main

if __name__ == "__main__":
    sys.exit(main())
