"""FewShotClassifier: how quick it is, and how accurate on Fashion-MNIST's ten fine classes.

Accuracy: for each draw, 1 or 5 images of each fine class of the train partition are learned from,
and all 10,000 test images classified, whose features are computed once for all draws. The model may
be any that was trained on Fashion-MNIST's coarse classes; docs/predict.md gives the command.

    python benchmarks/fewshot.py --model-path runs/fashion-mnist/model_best.pth.tar
    python benchmarks/fewshot.py --speed
"""

import argparse
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ancor.data.config import DataConfig
from ancor.evaluation.plan import mean_and_interval
from ancor.fewshot.estimator import FewShotClassifier
from ancor.fewshot.image_encoder import ImageEncoder, load_encoder
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime
from ancor.runtime.seeding import seeded

SHOTS = 5
SETTINGS = {
    "LR": {},
    "LR, coarse first": {"coarse_first": True},
    **{name: {"classifier": name} for name in ("Proto", "Cosine", "NN", "KNN")},
}


def measure_speed() -> None:
    """Time fit, predict and one answer with an untrained conv4 at 32 px."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1050, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(50) % 10
    network = Encoder(EncoderConfig("conv4", num_classes=3))
    encoder = ImageEncoder(network, DataConfig("cifar100").transforms, Runtime(torch.device("cpu")))
    model = FewShotClassifier(encoder)
    started = perf_counter()
    model.fit(list(pixels[:50]), labels)
    fitted = perf_counter()
    model.predict(list(pixels[50:]))
    print(
        f"conv4, 32 px, {torch.get_num_threads()} threads: fit on 50 images "
        f"{fitted - started:.2f} s, predict on 1,000 {perf_counter() - fitted:.2f} s"
    )
    for ways in (10, 100):
        support = list(pixels[: 5 * ways])
        model.fit(support, np.arange(5 * ways) % ways)
        seconds = []
        for image in pixels[-50:]:
            started = perf_counter()
            model.predict_proba([image])
            seconds.append(perf_counter() - started)
        print(
            f"one image among {ways} classes of 5: {1e3 * np.median(seconds):.1f} ms (median of "
            f"50; the slowest {1e3 * max(seconds):.1f})"
        )


def measure_accuracy(args: argparse.Namespace) -> None:
    """Print a table of accuracies with a line a setting."""
    data = DataConfig("fashion-mnist", args.data)
    parts = data.load("train"), data.load("test")
    trained = load_encoder(args.model_path, device=args.device)
    with seeded(0, "weights"):
        network = Encoder(trained.network.config)
    untrained = ImageEncoder(network, trained.transforms, trained.runtime)
    print("| classifier | 1 image a class | 5 images a class |\n| --- | --- | --- |")
    print_rows("", trained, SETTINGS, parts, args.draws)
    print_rows(", before training", untrained, {"LR": {}}, parts, args.draws)


def print_rows(about: str, encoder: ImageEncoder, settings: dict, parts: tuple, draws: int) -> None:
    """Print a line for each setting of the classifier on one encoder's features."""
    train, test = parts
    queries, support = encoder.features(list(test.images)), []
    classes = range(train.hierarchy.num_fine)
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        drawn = [rng.choice(np.flatnonzero(train.fine_labels == c), SHOTS, False) for c in classes]
        support.append(encoder.features([train.images[n] for n in np.concatenate(drawn)], 5))
    labels = np.repeat(classes, SHOTS)
    for name, chosen in settings.items():
        if "coarse_first" in chosen and not encoder.num_coarse:
            continue
        cells = []
        for shots in (1, SHOTS):
            model, scores = FewShotClassifier(encoder, **chosen), []
            kept = np.arange(len(labels)) % SHOTS < shots
            for features in support:
                model.fit(features[torch.from_numpy(kept)], labels[kept])
                scores.append(model.score(queries, test.fine_labels))
            mean, half = mean_and_interval(np.array(scores))
            cells.append(f"{100 * mean:.1f} ± {100 * half:.1f}")
        print(f"| {name}{about} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure what the flags ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model-path", "--model_path", help="a model of Fashion-MNIST: measures accuracy"
    )
    parser.add_argument("--data", help="folder of Fashion-MNIST's files")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--speed", action="store_true", help="measure speed")
    args = parser.parse_args()
    if args.speed:
        measure_speed()
    if args.model_path:
        measure_accuracy(args)
    if not args.speed and not args.model_path:
        parser.error("give --model-path, --speed or both")


if __name__ == "__main__":
    main()
