"""Index a list of 1.3 million images and plan 1000 5-way and 1000 intra-class episodes over it.

    python benchmarks/index.py

The list is made, in 1000 folders; nothing is read from disk. A plan of all-way episodes, each of
1000 classes here, is timed apart; its memory is what it adds to the peak before.
"""

import argparse
import json
import resource
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ancor.data.episodes import EpisodeSampler, Protocol  # noqa: E402
from ancor.data.hierarchy import Hierarchy  # noqa: E402
from ancor.data.images import ImageFiles  # noqa: E402
from ancor.data.partition import Partition  # noqa: E402
from ancor.evaluation.plan import plan_evaluations  # noqa: E402

CLASSES = 1000


def made_list(images: int) -> list[tuple[str, list[str]]]:
    """Folders of ImageNet's kind with their files' names."""
    return [
        (f"train/n{number:08d}", [f"n{number:08d}_{image}.JPEG" for image in range(own)])
        for number, own in enumerate(np.full(CLASSES, images // CLASSES).tolist())
    ]


def index(listed: list[tuple[str, list[str]]]) -> Partition:
    """Make a partition of a list of files."""
    labels = np.repeat(np.arange(CLASSES), [len(names) for _, names in listed])
    hierarchy = Hierarchy(
        tuple(f"coarse {n}" for n in range(50)),
        tuple(f"fine {n}" for n in range(CLASSES)),
        tuple(n % 50 for n in range(CLASSES)),
    )
    return Partition.from_fine("folder", "train", ImageFiles(listed), labels, hierarchy)


def peak_memory() -> int:
    """Bytes of memory at the peak of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_300_000, help="(default: 1300000)")
    parser.add_argument("--episodes", type=int, default=1000, help="(default: 1000)")
    parser.add_argument("--all-way", type=int, default=1000, help="episodes timed (default: 1000)")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    args = parser.parse_args()
    listed = made_list(args.images)
    started = perf_counter()
    partition = index(listed)
    indexed = perf_counter()
    sampler = EpisodeSampler(partition.fine_labels, partition.coarse_labels)
    plan = plan_evaluations(sampler, [Protocol(), Protocol(intra_class=True)], args.episodes)
    planned = perf_counter()
    peak = peak_memory()
    plan_evaluations(sampler, [Protocol(n_ways=CLASSES)], args.all_way)
    all_way = perf_counter()
    report = {
        "images": len(partition),
        "index_s": indexed - started,
        "plan_s": planned - indexed,
        "pairs": len(plan.pairs),
        "peak_mb": peak / 2**20,
        "all_way_s": all_way - planned,
        "all_way_more_mb": (peak_memory() - peak) / 2**20,
    }
    print(", ".join(f"{name} {value:,.2f}" for name, value in report.items()))
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
