"""Score two encoders, coarse class first: `python cascade.py --help`."""

import sys

from ancor.cli.eval import main

if __name__ == "__main__":
    sys.exit(main(name="cascade"))
