"""Score an encoder by few-shot episodes: `python eval.py --help`."""

import sys

from ancor.cli.eval import main

if __name__ == "__main__":
    sys.exit(main())
