"""Draw t-SNE pictures of an encoder: `python tsne.py --help`."""

import sys

from ancor.cli.tsne import main

if __name__ == "__main__":
    sys.exit(main())
