"""Write some images of a dataset as files, in the folders that ancor predict takes.

    python tools/write_images.py --dataset digits --output-dir runs/images

makes runs/images/support/<class>/<number>.png of the training partition, and of the test partition
runs/images/query/<class>_<number>.png.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from torchvision.transforms.functional import to_pil_image

from ancor.data.config import DataConfig
from ancor.data.partition import Partition


def write(partition: Partition, count: int, pattern: str) -> None:
    """Write the first `count` images of each fine class to `pattern`, of class and number."""
    for label, name in enumerate(partition.hierarchy.fine_names):
        for number in np.flatnonzero(partition.labels("fine") == label)[:count].tolist():
            path = Path(pattern.format(name.replace("/", "-"), number))
            path.parent.mkdir(parents=True, exist_ok=True)
            image = partition.images[number]
            (image if hasattr(image, "save") else to_pil_image(image)).save(path)


def main() -> None:
    """Write both folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data", help="folder of the dataset's files")
    parser.add_argument("--output-dir", default="runs/images")
    parser.add_argument("--shots", type=int, default=5, help="support images a class")
    parser.add_argument("--queries", type=int, default=3, help="query images a class")
    args = parser.parse_args()
    config = DataConfig(args.dataset, args.data)
    write(config.load("train"), args.shots, f"{args.output_dir}/support/{{}}/{{}}.png")
    write(config.load("test"), args.queries, f"{args.output_dir}/query/{{}}_{{}}.png")


if __name__ == "__main__":
    main()
