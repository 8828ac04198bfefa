"""Tell new classes apart from a few images of each: `python predict.py --help`."""

import sys

from ancor.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
