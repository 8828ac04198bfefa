"""Draw t-SNE pictures of an encoder's features: all coarse classes, and one of them from inside."""

import argparse

from ancor.cli.arguments import Parser, add_evaluation_flags, run

EXAMPLE = """example, after the one of train.py --help:
  python tsne.py --model_path runs/digits/model_best.pth.tar --partition test"""
FORMATS = ("png", "svg", "pdf")
FINE_IMAGES = 50  # of each fine class in the second picture: 15 + 35, as in the paper's code


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="tsne.py", description=__doc__, epilog=EXAMPLE)
    episodes = add_evaluation_flags(parser)
    episodes.add_argument(
        "--n-shots", type=int, default=1, metavar="N", help="support images a class (default: 1)"
    )
    episodes.add_argument(
        "--n-ways", type=int, default=1000, metavar="N", help="fine classes (default: 1000, all)"
    )
    picture = parser.add_argument_group("pictures")
    picture.add_argument(
        "--coarse-class",
        metavar="NAME",
        help="coarse class of the second picture, by name or number (default: drawn by --seed)",
    )
    picture.add_argument(
        "--only-base",
        action="store_true",
        help="backbone features even where the model has an embedding",
    )
    picture.add_argument("--perplexity", type=float, default=30.0, help="of t-SNE (default: 30)")
    picture.add_argument(
        "--output-dir", metavar="DIR", help="where the pictures go (default: beside the model)"
    )
    picture.add_argument(
        "--format", default="png", metavar="NAME", help="png, svg or pdf (default: png)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run tsne.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Draw as the arguments say."""
    from pathlib import Path

    from ancor.cli.evaluation import output_path, read_subjects
    from ancor.data.inspection import report_skipped
    from ancor.errors import InputError, choose
    from ancor.logs import configure_console

    configure_console()
    choose("--format", args.format, FORMATS)
    if not args.perplexity > 0:
        raise InputError(f"--perplexity {args.perplexity}: a number above 0 is needed")
    (subject,) = read_subjects(args, args.only_base)
    subject.partition.labels("fine")  # refuses a partition without them
    run_folder = Path(args.model_path).resolve().parent
    folder = Path(args.output_dir) if args.output_dir else run_folder
    stem = f"{run_folder.name}_{subject.data.dataset}"
    for name, draw in (("coarse", _coarse_picture), ("fine", _fine_picture)):
        path = folder / f"{stem}_{name}.{args.format}"
        output_path(str(path))
        draw(args, subject).savefig(path, dpi=150, bbox_inches="tight")
        print(f"Wrote {path}")
    report_skipped(subject.partition)


def _coarse_picture(args: argparse.Namespace, subject):
    """One episode's images, by coarse class; reports the accuracy of the model's own classifier."""
    import numpy as np

    from ancor.plots.tsne import coarse_figure, project

    everything = np.arange(len(subject.partition))
    images = _episode_images(args, subject, everything, args.n_shots + args.n_queries)
    features, logits = _encode(args, subject, images)
    coarse = subject.partition.coarse_labels[images]
    weights = _class_weights(args, subject)
    if logits is not None and logits.shape[1] == subject.partition.hierarchy.num_coarse:
        accuracy = 100 * np.mean(logits.argmax(1) == coarse)
        print(
            f"Coarse accuracy of the model's own classifier: {accuracy:.2f} ({len(images)} images)"
        )
    points, stars = project(features, weights, args.perplexity, args.seed)
    title = f"{subject.data.dataset}, {args.partition}: {len(images)} images by coarse class"
    names = list(subject.partition.hierarchy.coarse_names)
    return coarse_figure(points, coarse, names, stars, title)


def _fine_picture(args: argparse.Namespace, subject):
    """One coarse class's images, by fine class."""
    import numpy as np

    from ancor.plots.tsne import fine_figure, project

    hierarchy = subject.partition.hierarchy
    coarse = _coarse_number(args, subject)
    inside = np.flatnonzero(subject.partition.coarse_labels == coarse)
    images = _episode_images(args, subject, inside, FINE_IMAGES)
    features, _ = _encode(args, subject, images)
    weights = _class_weights(args, subject)
    points, stars = project(
        features, None if weights is None else weights[[coarse]], args.perplexity, args.seed
    )
    classes, labels = np.unique(subject.partition.fine_labels[images], return_inverse=True)
    return fine_figure(
        points,
        labels,
        [hierarchy.fine_names[label] for label in classes],
        stars[0] if len(stars) else None,
        f"{subject.data.dataset}, {args.partition}: fine classes of "
        f"{hierarchy.coarse_names[coarse]!r}",
    )


def _coarse_number(args: argparse.Namespace, subject) -> int:
    """Return the coarse class that was asked for, or draw one that has images."""
    import numpy as np

    from ancor.errors import choose

    names = subject.partition.hierarchy.coarse_names
    if args.coarse_class is None:
        present = np.unique(subject.partition.coarse_labels)
        return int(np.random.RandomState(args.seed).choice(present))
    numbers = {str(number): number for number in range(len(names))}
    numbers |= {name: number for number, name in enumerate(names)}
    return numbers[choose("--coarse-class", args.coarse_class, numbers)]


def _episode_images(args: argparse.Namespace, subject, images, per_class: int):
    """Draw an episode from some images, `per_class` of each class where there are so many."""
    import numpy as np

    from ancor.data.episodes import EpisodeSampler, Protocol

    sampler = EpisodeSampler(
        subject.partition.fine_labels[images],
        rules=subject.data.spec.rules,
        class_names=subject.partition.hierarchy.fine_names,
    )
    smallest = min(len(own) for own in sampler.images_of.values())
    if smallest < per_class:
        print(
            f"The smallest class has {smallest} images: so many of each are drawn, not {per_class}"
        )
        per_class = max(2, smallest)
    protocol = Protocol(args.n_ways, 1, per_class - 1, n_copies=1)
    sampler.check(protocol)
    episode = sampler.draw(protocol, 0, args.seed)
    return images[np.concatenate([episode.support, episode.query])]


def _encode(args: argparse.Namespace, subject, images):
    """Return features (N, F) under the test transform, and class logits (N, C) or None."""
    import numpy as np
    import torch

    from ancor.data.partition import QUERY_VIEW

    pairs = np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)
    outputs = list(subject.bank("features").outputs(pairs))

    def joined(name: str):
        parts = [getattr(output, name) for output in outputs]
        return None if parts[0] is None else torch.cat(parts).float().cpu().numpy()

    embedding = None if args.only_base else joined("embedding")
    return joined("features") if embedding is None else embedding, joined("logits")


def _class_weights(args: argparse.Namespace, subject):
    """Return the class weights (C, F) where they live among the features that are drawn."""
    weight = subject.encoder.class_weight
    if weight is None or len(weight) != subject.partition.hierarchy.num_coarse:
        print("The model has no weights for these coarse classes: no stars are drawn")
        return None
    on_embedding = subject.encoder.config.head == "seq"
    shown_embedding = subject.encoder.config.head != "cls" and not args.only_base
    if on_embedding != shown_embedding:
        print("The class weights do not live among these features: no stars are drawn")
        return None
    return weight.detach().float().cpu().numpy()
