"""Training views a second on one core, against the paper's pipeline of Pillow images.

    python benchmarks/loader.py

All make two views of each of some 500 x 375 JPEGs that this writes; `paper` is torchvision's first
interface as the paper's code uses it (decode once, two crops, jitter, gray, blur, flip, tensor,
normalize). `workers` is ours with the colors changed by the loading process, `device` what is left
to that process when the device changes them, and `packed` the same from a file of `ancor pack`
(shorter side 256, uncompressed), `packed jpeg` from one of JPEG. They take turns, so that what else
the machine does falls on all of them; `against device` is the ratio to the folder of JPEGs, and
`mb` what an image takes on disk.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image, ImageFilter
from torchvision import transforms as v1

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ancor.data.config import DataConfig  # noqa: E402
from ancor.data.file_config import PackConfig  # noqa: E402
from ancor.data.images import ImageFiles  # noqa: E402
from ancor.data.pack import pack  # noqa: E402
from ancor.data.packed import PackedImages  # noqa: E402
from ancor.data.registry import PHOTOGRAPHS  # noqa: E402
from ancor.data.views import TrainingViews  # noqa: E402

PLACES = {"paper": "images", "packed": "uncompressed", "packed jpeg": "jpeg"}  # on disk


def size(place: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())


def write_photographs(folder: Path, count: int) -> list[str]:
    """Write JPEGs with the detail of photographs: noise on all scales, and its own tint each."""
    rng = np.random.default_rng(0)
    names = []
    for number in range(count):
        picture = np.zeros((375, 500, 3))
        for side in (4, 16, 64, 200):
            noise = rng.uniform(0, 255, (side * 3 // 4, side, 3)).astype(np.uint8)
            large = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
            picture += np.asarray(large) / (4 * (side / 4) ** 0.25)
        names.append(f"{number:04d}.jpg")
        pixels = np.clip(picture * rng.uniform(0.6, 1.4, 3), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / names[-1], quality=90)
    return names


def blurred(image: Image.Image) -> Image.Image:
    """The paper's blur."""
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2)))


def papers_pipeline() -> v1.Compose:
    """The paper's transform of a view."""
    return v1.Compose(
        [
            v1.RandomResizedCrop(224, scale=(0.2, 1.0)),
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v1.RandomGrayscale(p=0.2),
            v1.RandomApply([blurred], p=0.5),
            v1.RandomHorizontalFlip(),
            v1.ToTensor(),
            v1.Normalize(PHOTOGRAPHS.mean, PHOTOGRAPHS.std),
        ]
    )


def makers(folder: Path, names: list[str]) -> dict:
    """Return the three, each as a function of an image's number."""
    pipeline = papers_pipeline()

    def paper(number: int) -> None:
        with open(folder / names[number], "rb") as file:
            image = Image.open(file).convert("RGB")
        pipeline(image), pipeline(image)

    files = ImageFiles([(str(folder), names)])
    sources = {"workers": (files, True), "device": (files, False)}
    for name, encoding in (("packed", "uncompressed"), ("packed jpeg", "jpeg")):
        sources[name] = packed(folder, encoding), False
    made = {"paper": paper}
    for name, (images, color) in sources.items():
        labels = np.zeros(len(names))
        views = TrainingViews(images, labels, PHOTOGRAPHS, ("strong", "strong"), 0, color)
        made[name] = lambda number, views=views: views[0, number]
    return made


def packed(folder: Path, encoding: str) -> PackedImages:
    """Pack the JPEGs and return their images."""
    data = DataConfig("folder", root=str(folder.parents[1]))
    file = pack(data, PackConfig(encoding=encoding), str(folder.parents[2] / encoding))
    return PackedImages(file, np.arange(len(file.records)))


def measure(root: Path, images: int, rounds: int) -> dict[str, float]:
    """Return seconds an image, for each of them: the median of the rounds."""
    folder = root / "images" / "train" / "class"
    folder.mkdir(parents=True)
    made = makers(folder, write_photographs(folder, images))
    seconds = {name: [] for name in made}
    for turn in range(rounds + 1):
        for name, make in made.items():
            started = perf_counter()
            for number in range(images):
                make(number)
            if turn:  # the first warms up
                seconds[name].append((perf_counter() - started) / images)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100, help="(default: 100)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), args.images, args.rounds)
        sizes = {name: size(Path(folder) / place) for name, place in PLACES.items()}
    report = {
        name: {
            "images_per_s": 1 / each,
            "ratio": seconds["paper"] / each,
            "against_device": seconds["device"] / each,
            "mb": sizes.get(name, sizes["paper"]) / args.images / 2**20,
        }
        for name, each in seconds.items()
    }
    for name, figures in report.items():
        rate, ratio, folder, mb = figures.values()
        print(
            f"{name:12}{rate:7.0f} images/s a core, {ratio:.2f} times the paper's pipeline, "
            f"{folder:.2f} times device; {mb:.3f} MB an image"
        )
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
