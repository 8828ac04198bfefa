"""Draw where an encoder looks: `python localize.py --help`."""

import sys

from ancor.cli.localize import main

if __name__ == "__main__":
    sys.exit(main())
