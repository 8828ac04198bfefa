"""Sub-classes by every algorithm, on features and on angles, beside the fine labels.

    python benchmarks/discovery.py --model-path runs/head/model_best.pth.tar --partition test

Each coarse class is divided into as many parts as it has fine classes, and into a number that is
chosen. A model whose file names features (`train.py --features`) is scored on these.
"""

import argparse
import time

import numpy as np

from ancor.evaluation.discovery import discover
from ancor.evaluation.discovery_config import ALGORITHMS, DiscoveryConfig
from ancor.evaluation.feature_bank import FEATURES_OUT
from ancor.evaluation.models import read_models
from ancor.runtime.devices import Runtime


def main() -> None:
    """Print a line for each algorithm, on what and by which number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--partition", default="test")
    parser.add_argument("--features-out", choices=FEATURES_OUT, default="frozen")
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    args = parser.parse_args()
    runtime = Runtime.named("cpu", "fp32", None, batch_size=256, workers=0, quiet=True)
    (model,), partition = read_models([args.model_path], {}, args.partition, runtime)
    fine, coarse = partition.labels("fine"), partition.coarse_labels
    names = partition.hierarchy.coarse_names
    true = {number: len(np.unique(fine[coarse == number])) for number in np.unique(coarse).tolist()}
    given = tuple(f"{names[number]}={known}" for number, known in true.items())
    bank = model.bank(partition, FEATURES_OUT[args.features_out])
    print("algorithm      on        number  accuracy   AMI   ARI  chosen right   off  seconds")
    for algorithm in args.algorithms:
        for angular in (False, True):
            for k in (given, ("auto",)):
                start = time.perf_counter()
                found = discover(bank, partition, DiscoveryConfig(algorithm, k, angular=angular))
                seconds = time.perf_counter() - start
                scored = found.agreement()
                counts = [sum(each.coarse == n for each in found.subclasses) for n in true]
                off = np.abs(np.array(counts) - list(true.values()))
                print(
                    f"{algorithm:13}  {'angles' if angular else 'features':8}  "
                    f"{'true' if k == given else 'chosen':6}  {100 * scored.accuracy:8.1f}  "
                    f"{100 * scored.ami:4.1f}  {100 * scored.ari:4.1f}  "
                    f"{(off == 0).sum():5} of {len(off):3}  {off.mean():4.2f}  {seconds:7.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
