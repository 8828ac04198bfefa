"""List a folder of many images, and look through it as `ancor check-data` does.

    python benchmarks/folder.py

The folder, 100,000 small JPEGs in 1,000 fine classes of 50 coarse ones, is written first, which
takes longer than what is measured.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ancor.data.config import DataConfig  # noqa: E402
from ancor.data.report import check  # noqa: E402
from benchmarks.index import peak_memory  # noqa: E402

CLASSES, COARSE = 1000, 50


def write_folder(root: Path, images: int) -> None:
    """Write JPEGs of 96 x 72 pixels, no two of them equal."""
    rng = np.random.default_rng(0)
    for number in range(CLASSES):
        folder = root / "train" / f"coarse {number % COARSE}" / f"fine {number}"
        folder.mkdir(parents=True)
        for image in range(images // CLASSES):
            fields = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(fields).resize((96, 72), Image.Resampling.BICUBIC)
            picture.save(folder / f"{image}.jpg", quality=80)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000, help="(default: 100000)")
    parser.add_argument("--deep", action="store_true", help="look for near duplicates too")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), args.images)
        data, before, started = DataConfig("folder", root=folder), peak_memory(), perf_counter()
        partition = data.load("train")
        listed = perf_counter()
        report = check(data, deep=args.deep)
        checked = perf_counter()
    figures = {
        "images": len(partition),
        "problems": len(report["problems"]),
        "list_s": listed - started,
        "check_s": checked - listed,
        "mb_at_start": before / 2**20,
        "peak_mb": peak_memory() / 2**20,
    }
    print(", ".join(f"{name} {value:,.2f}" for name, value in figures.items()))
    if args.json:
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
