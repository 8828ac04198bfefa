"""What `ancor app`'s order by doubt is worth: labels by doubt against labels by chance.

    python benchmarks/labeling.py --arch A --pretrained --dataset grocery --data D

In each coarse class of three fine classes or more, two labels a class are drawn; as many again are
given one by one, each to the most doubtful picture, or else to pictures that are drawn. Both are
judged on the pictures of another partition. Features are of the test transform.
"""

import argparse
import sys

import numpy as np

from ancor.cli.arguments import Parser, main_of
from ancor.cli.models import add_model_flags, read_models_of
from ancor.evaluation.plan import mean_and_interval
from ancor.fewshot.labeling import pictures
from ancor.fewshot.labeling.answers import Answers
from ancor.fewshot.labeling.pictures import Pictures

FIRST = 2  # labels of each class
JUDGES = "test"


def accuracies(pool: Pictures, judges: Pictures, coarse: int, seed: int) -> list[float]:
    """Return the accuracy inside a coarse class by the first labels, more by doubt, by chance."""
    rng = np.random.default_rng(seed)
    names = np.array(pool.partition.hierarchy.fine_names)
    truth, judged = names[pool.partition.fine_labels], names[judges.partition.fine_labels]
    own = np.flatnonzero(pool.partition.coarse_labels == coarse)
    asked = np.flatnonzero(judges.partition.coarse_labels == coarse)

    def accuracy(labels: dict[int, str]) -> float:
        answers = Answers.of(pool, labels, 1.0)
        model = answers.classifier(dict.fromkeys(answers.names, ""))
        found = model.set_params(unknown=None).predict(judges.features[asked])
        return float(np.mean(found == judged[asked]))

    first: dict[int, str] = {}
    for name in np.unique(truth[own]):
        first |= dict.fromkeys(rng.permutation(own[truth[own] == name])[:FIRST].tolist(), name)
    by_doubt = dict(first)
    for _ in first:
        waiting = np.setdiff1d(own, list(by_doubt))
        number = int(Answers.of(pool, by_doubt, 1.0).by_doubt(waiting)[0])
        by_doubt[number] = truth[number]
    drawn = rng.permutation(np.setdiff1d(own, list(first)))[: len(first)].tolist()
    by_chance = first | {n: truth[n] for n in drawn}
    return [accuracy(labels) for labels in (first, by_doubt, by_chance)]


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="benchmarks/labeling.py", description=__doc__)
    add_model_flags(parser, partition="train")
    parser.add_argument("--draws", type=int, default=20, metavar="N")
    return parser


def command(args: argparse.Namespace) -> None:
    """Print a line for each way to label."""
    pool = read(args)
    args.partition = JUDGES
    judges = read(args)
    labels = pool.partition
    fine = [
        len(np.unique(labels.fine_labels[labels.coarse_labels == c]))
        for c in range(labels.hierarchy.num_coarse)
    ]
    chosen = [c for c, count in enumerate(fine) if count > 2]
    draws = [
        np.mean([accuracies(pool, judges, coarse, seed) for coarse in chosen], axis=0)
        for seed in range(args.draws)
    ]
    first, by_doubt, by_chance = 100 * np.array(draws).T
    print(f"{len(chosen)} coarse classes of {sum(fine[c] for c in chosen)} fine ones")
    for title, values in (
        (f"{FIRST} labels a class", first),
        (f"{2 * FIRST}, the second half by chance", by_chance),
        (f"{2 * FIRST}, the second half by doubt", by_doubt),
        ("doubt against chance", by_doubt - by_chance),
    ):
        mean, half = mean_and_interval(values)
        print(f"{title}: {mean:.1f} ± {half:.1f}")


def read(args: argparse.Namespace) -> Pictures:
    """Read a partition's pictures."""
    (model,), partition = read_models_of(args, only_base=True)
    return pictures.read(model, partition)


main = main_of(build_parser, command)

if __name__ == "__main__":
    sys.exit(main())
