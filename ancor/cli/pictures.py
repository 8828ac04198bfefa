"""What the commands that draw pictures share: which images, their features, where pictures go."""

import argparse
import io
from pathlib import Path
from typing import TYPE_CHECKING

from ancor.cli.arguments import Parser, say
from ancor.cli.models import add_model_flags, output_path
from ancor.cli.options import add_settings
from ancor.errors import InputError, choose
from ancor.evaluation.config import EvaluationConfig
from ancor.safe_io.writing import write_result

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from ancor.data.partition import Partition
    from ancor.evaluation.models import Model

FORMATS = ("png", "svg", "pdf")


def add_picture_flags(parser: Parser, *settings: str, batch_size: int = 256) -> None:
    """Add the flags of a command that draws what one model makes of a partition.

    Args:
        parser: the command's.
        settings: those of `EvaluationConfig` that it takes beside mode and seed.
        batch_size: default of the images a forward pass.
    """
    add_model_flags(parser, batch_size=batch_size)
    names = ("mode", *settings, "seed")
    add_settings(parser, EvaluationConfig, "data", names, filled=True)


def add_choice_flags(parser: Parser, count: int) -> argparse._ArgumentGroup:
    """Add the flags that choose images of a partition; `count`: how many by default."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images", type=int, nargs="+", metavar="I", help="their numbers in the partition, from 0"
    )
    group.add_argument(
        "--n",
        type=int,
        metavar="N",
        help=f"how many are drawn by --seed where none are named (default: {count})",
    )
    group.set_defaults(default_n=count)
    return group


def add_output_flag(parser: Parser, default: str) -> None:
    """Add --output, a picture; `default` tells where it goes otherwise."""
    parser.add_argument_group("picture").add_argument(
        "--output", metavar="FILE", help=f"ends in .png, .svg or .pdf (default: {default})"
    )


def picture_path(name: str, flag: str = "--output") -> Path:
    """Return a picture's path, of a known format and in a folder that exists and can be written to.

    Raises:
        InputError: it is not so.
    """
    choose(f"{flag} {name!r}: format", Path(name).suffix[1:].lower(), FORMATS)
    return output_path(name)


def save(figure: "Figure", path: Path, dpi: int = 110) -> None:
    """Write a figure and say so."""
    from ancor.plots.style import write

    buffer = io.BytesIO()
    write(figure, buffer, format=path.suffix[1:].lower(), dpi=dpi)
    write_result(path, buffer.getvalue())
    say(f"Wrote {path}")


def beside_model(args: argparse.Namespace) -> Path:
    """Return the folder of the model."""
    return Path(args.model_path[0]).resolve().parent


def chosen_images(args: argparse.Namespace, partition: "Partition") -> "np.ndarray":
    """Return the images that --images names, or --n that --seed draws; (Q,) of int64."""
    import numpy as np

    from ancor.runtime.seeding import address_seed

    size = len(partition)
    if args.images is not None:
        for number in args.images:
            if not 0 <= number < size:
                raise InputError(
                    f"--images {number}: partition {partition.name!r} of {partition.dataset!r} "
                    f"has {size} images; accepted: 0 to {size - 1}"
                )
        return np.array(args.images)
    count = args.default_n if args.n is None else args.n
    if count < 1:
        raise InputError(f"--n {count}: at least 1 is needed")
    rng = np.random.default_rng(address_seed(args.seed, "picture"))
    return np.sort(rng.choice(size, min(count, size), replace=False))


def episode_images(
    args: argparse.Namespace, partition: "Partition", images: "np.ndarray", per_class: int
) -> "np.ndarray":
    """Draw an episode from some images, `per_class` of each class or all of a smaller one."""
    import numpy as np

    from ancor.data.episodes import EpisodeSampler, Protocol, span

    sampler = EpisodeSampler.of(partition.subset(images), args.mode)
    sizes = [len(own) for own in sampler.images_of.values()]
    protocol = Protocol(
        args.n_ways, 1, max(1, per_class - 1), n_copies=1, equal_queries=args.equal_queries
    )
    if args.equal_queries:
        sampler.check(protocol)
    if max(sizes) < 2:
        return images
    small, lone = [size for size in sizes if 1 < size < per_class], sizes.count(1)
    if small:
        print(
            f"{len(small)} of {len(sizes)} classes have fewer than {per_class} images: all of "
            f"theirs are drawn, {span(small)} a class"
        )
    if lone:
        print(f"{lone} of {len(sizes)} classes have 1 image, and are not drawn")
    episode = sampler.draw(protocol, 0, args.seed)
    return images[np.concatenate([episode.support, episode.query])]


def encode(
    args: argparse.Namespace, model: "Model", partition: "Partition", images: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray | None]":
    """Return features (N, F) under the test transform, and class logits (N, C) or None.

    Features are the head's embedding where there is one and --only-base was not given.
    """
    import numpy as np
    import torch

    from ancor.data.views import QUERY_VIEW

    pairs = np.stack([images, np.full_like(images, QUERY_VIEW)], axis=1)
    outputs = list(model.bank(partition, seed=args.seed).outputs(pairs))

    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(output, name) for output in outputs]
        return None if parts[0] is None else torch.cat(parts).float().cpu().numpy()

    embedding = None if args.only_base else joined("embedding")
    return joined("features") if embedding is None else embedding, joined("logits")
