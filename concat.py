"""Score encoders by their features side by side: `python concat.py --help`."""

import sys

from ancor.cli.concat import main

if __name__ == "__main__":
    sys.exit(main())
