"""What answers best with a few images a class, on the features of one network: ours, or easyfsl's.

    python benchmarks/alternatives.py --arch timm:tf_efficientnet_lite0 --pretrained \
        --dataset grocery --data D --partition test
    python benchmarks/alternatives.py --model-path runs/grocery/model_best.pth.tar --partition test

Every classifier of `eval.py --cls` and every one of easyfsl that needs no training of its own sees
the same episodes: unit vectors of the backbone, images under the test transform. Those that end in
`(transductive)` answer all queries of an episode together. The last column is the time of all.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where only easyfsl is installed

from ancor.cli.arguments import Parser, main_of
from ancor.cli.models import add_model_flags, read_models_of
from ancor.data.episodes import ALL_WAYS, Episode, EpisodeSampler, Protocol
from ancor.errors import InputError
from ancor.evaluation.config import CLASSIFIERS
from ancor.evaluation.episode_batch import EpisodeBatch
from ancor.evaluation.plan import mean_and_interval
from ancor.evaluation.predictors import single

PENALTY = 100.0  # of LR; the paper's 1 is for five views of an image
TRANSDUCTIVE = ("BD-CSPN", "LaplacianShot")
EASYFSL = (
    *("PrototypicalNetworks", "SimpleShot", "Finetune", "TransductiveFinetuning"),
    *("BDCSPN", "LaplacianShot", "TIM", "PTMAP"),
)
MODES = {
    "5-way": {"n_ways": 5},
    "all-way": {"n_ways": ALL_WAYS},
    "intra-class": {"n_ways": 5, "intra_class": True},
}
Answer = Callable[[Tensor, Tensor, Tensor], Tensor]  # support, its labels, queries -> labels


def ours() -> dict[str, Answer]:
    """Return the classifiers of `eval.py`, each as a function of one episode."""

    def answer(name: str) -> Answer:
        predict = single(name, PENALTY if name == "LR" else 1.0)

        def classify(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
            ids = torch.arange(len(labels))[None]
            ways = int(labels.max()) + 1
            return predict([EpisodeBatch(support[None], labels[None], ids, queries[None], ways)])[0]

        return classify

    return {
        f"{name}{f' --C {PENALTY:g}' if name == 'LR' else ''}{told(name in TRANSDUCTIVE)}": answer(
            name
        )
        for name in CLASSIFIERS
    }


def easyfsl() -> dict[str, Answer]:
    """Return easyfsl's, with its own defaults."""
    from easyfsl import methods

    made = {name: getattr(methods, name)(nn.Identity()) for name in EASYFSL}

    def answer(classifier: nn.Module) -> Answer:
        def classify(support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
            classifier.process_support_set(support, labels)
            return classifier(queries).argmax(1)

        return classify

    return {
        f"easyfsl {name}{told(each.is_transductive())}": answer(each) for name, each in made.items()
    }


def told(transductive: bool) -> str:
    """Return what a name ends with."""
    return " (transductive)" if transductive else ""


def accuracies(answer: Answer, features: Tensor, episodes: Sequence[Episode]) -> np.ndarray:
    """Return the accuracy of each episode, (episodes,), in percent."""
    found = []
    for episode in episodes:
        support, query = (features[torch.from_numpy(e)] for e in (episode.support, episode.query))
        answers = answer(support, torch.tensor(episode.support_labels), query)
        found.append(np.mean(answers.numpy() == episode.query_labels))
    return 100 * np.array(found)


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="benchmarks/alternatives.py", description=__doc__)
    add_model_flags(parser)
    parser.add_argument("--n-shots", type=int, nargs="+", default=[1, 5], metavar="N")
    parser.add_argument("--episodes", type=int, default=100, metavar="N")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="those with a NAME in theirs")
    return parser


def command(args: argparse.Namespace) -> None:
    """Print a table, row by row."""
    answers = ours()
    if find_spec("easyfsl") is None:
        print("easyfsl is left out: pip install easyfsl\n")
    else:
        answers |= easyfsl()
    asked = args.rows or [""]
    rows = {name: answers[name] for name in answers if any(part in name for part in asked)}
    if not rows:
        raise InputError(
            f"--rows {' '.join(asked)}: expected a part of one of {', '.join(answers)}"
        )
    (model,), partition = read_models_of(args, only_base=True)
    features = model.bank(partition).test_features()
    sampler = EpisodeSampler.of(partition, "fine")
    drawn = {
        f"{mode}, {shots}": [
            sampler.draw(Protocol(n_shots=shots, n_augmentations=0, **settings), number, 0)
            for number in range(args.episodes)
        ]
        for shots in args.n_shots
        for mode, settings in MODES.items()
    }
    title = model.path.partition("=")[0]
    print(f"| {title} | {' | '.join(drawn)} | s |\n{'| --- ' * (len(drawn) + 2)}|")
    for name, answer in rows.items():
        started = perf_counter()
        shown = [mean_and_interval(accuracies(answer, features, e)) for e in drawn.values()]
        cells = " | ".join(f"{mean:.1f} ± {half:.1f}" for mean, half in shown)
        print(f"| {name} | {cells} | {perf_counter() - started:.0f} |", flush=True)


main = main_of(build_parser, command)

if __name__ == "__main__":
    sys.exit(main())
