"""Score two encoders, coarse class first: `python cascade.py --help`."""

import sys

from ancor.cli.cascade import main

if __name__ == "__main__":
    sys.exit(main())
