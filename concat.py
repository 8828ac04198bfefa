"""Score encoders by their features side by side: `python concat.py --help`."""

import sys

from ancor.cli.eval import main

if __name__ == "__main__":
    sys.exit(main(name="concat"))
