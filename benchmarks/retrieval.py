"""Retrieval of all images among all, beside the bare matrix product of their features.

    python benchmarks/retrieval.py                    100,000 x 100,000
    python benchmarks/retrieval.py --images 20000

Features are made: random directions around class centers. The product is of the same blocks of
queries with the whole gallery, of which nothing is kept. Both run in one thread, so that their
times are of one core; the memory is what each adds to the peak before.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from index import peak_memory  # noqa: E402

from ancor.evaluation.neighbors import GALLERY, QUERIES  # noqa: E402
from ancor.evaluation.retrieval import retrieve  # noqa: E402


def made_features(images: int, width: int, classes: int) -> tuple[Tensor, np.ndarray]:
    """Features (N, F) of unit length, and labels (N,) of classes of equal size."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    features = 2 * torch.randn(images, width, generator=generator)
    features += torch.randn(classes, width, generator=generator)[labels]
    return torch.nn.functional.normalize(features, dim=1), labels.numpy()


def product(features: Tensor) -> float:
    """Multiply all features with all, in the blocks of the search."""
    largest = 0.0
    for queries in features.split(QUERIES):
        for gallery in features.split(GALLERY):
            largest = max(largest, float((queries @ gallery.T)[0, 0]))
    return largest


def measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what some work gives, its seconds, and the MB that it adds to the peak memory."""
    before, start = peak_memory(), perf_counter()
    found = work()
    return found, perf_counter() - start, (peak_memory() - before) / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000, help="(default: 100000)")
    parser.add_argument("--width", type=int, default=512, help="features of each (default: 512)")
    parser.add_argument("--classes", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    features, labels = made_features(args.images, args.width, args.classes)
    print(f"{args.images} images of {args.width} features: {features.nbytes / 2**20:.0f} MB")
    _, bare, memory = measured(lambda: product(features))
    print(f"matrix product: {bare:.1f} s on one core, {memory:.0f} MB added")
    scores, seconds, added = measured(lambda: retrieve(features, labels))
    print(f"retrieval:      {seconds:.1f} s on one core, {added:.0f} MB added")
    print(f"ratio: {seconds / bare:.2f}; MAP@R {100 * scores.map_at_r:.2f}%")
    print(f"recall: {scores.recall_words()}")
    if args.json:
        figures = {
            **{name: vars(args)[name] for name in ("images", "width", "classes")},
            "features_mb": features.nbytes / 2**20,
            "product_seconds": bare,
            "retrieval_seconds": seconds,
            "product_added_mb": memory,
            "retrieval_added_mb": added,
            "scores": scores.as_dict(),
        }
        Path(args.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
