"""How many images `unknown` auto rejects, of known classes and of others.

    python benchmarks/unknown.py --arch A --pretrained --dataset grocery --data D --partition test

Ten classes are drawn, of which five are known, each by some images; all their other images, and
all of the other five classes, are compared with the threshold. Features are of the test transform.
"""

import argparse
import sys

import numpy as np
import torch

from ancor.cli.arguments import Parser, main_of
from ancor.cli.models import add_model_flags, read_models_of
from ancor.data.views import QUERY_VIEW
from ancor.evaluation.plan import mean_and_interval
from ancor.fewshot.support_set import Features
from ancor.fewshot.unknown import ClassMeans

KNOWN = 5
SHOTS = (2, 5, 10)


def rejected(
    features: torch.Tensor, labels: np.ndarray, shots: int, rate: float, seed: int
) -> list[float]:
    """Return the share of rejected images of known and of unknown classes in one draw."""
    rng = np.random.default_rng(seed)
    enough = np.flatnonzero(np.bincount(labels) > max(SHOTS))
    chosen = rng.choice(enough, 2 * KNOWN, replace=False)
    images = [rng.permutation(np.flatnonzero(labels == label)) for label in chosen]
    support = features[np.concatenate([own[:shots] for own in images[:KNOWN]])]
    known = features[np.concatenate([own[shots:] for own in images[:KNOWN]])]
    unknown = features[np.concatenate(images[KNOWN:])]
    nothing = torch.empty(len(support), 0, dtype=torch.long)
    of_support = Features(support, support[:, None][:, :0], nothing.sum(1) - 1, nothing)
    means = ClassMeans(of_support, torch.arange(KNOWN).repeat_interleave(shots))
    threshold = means.threshold(rate)
    return [float((means.similarities(q) < threshold).double().mean()) for q in (known, unknown)]


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="benchmarks/unknown.py", description=__doc__)
    add_model_flags(parser)
    parser.add_argument("--rate", type=float, default=0.05, metavar="R")
    parser.add_argument("--draws", type=int, default=300, metavar="N")
    return parser


def command(args: argparse.Namespace) -> None:
    """Print a table."""
    (model,), partition = read_models_of(args, only_base=True)
    images = np.arange(len(partition))
    pairs = np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)
    features = model.bank(partition).features(pairs)
    print("images a class | known, rejected % | unknown, rejected %")
    for shots in SHOTS:
        draws = [
            rejected(features, partition.fine_labels, shots, args.rate, seed)
            for seed in range(args.draws)
        ]
        told = (mean_and_interval(100 * column) for column in np.array(draws).T)
        print(shots, *(f"{mean:.1f} ± {half:.1f}" for mean, half in told), sep=" | ")


main = main_of(build_parser, command)

if __name__ == "__main__":
    sys.exit(main())
