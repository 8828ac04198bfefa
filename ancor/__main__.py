"""python -m ancor <command>: the toolkit's commands under one name."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

import ancor
from ancor.cli.ending import heard, tell
from ancor.errors import LONGEST, did_you_mean

# For each command its module and what it does. The module's `build_parser()` and `main(argv)` are
# the command's; those of a module of several commands take the `name` of one as well.
COMMANDS = {
    "train": ("ancor.cli.train", "train an encoder on coarse labels"),
    "eval": ("ancor.cli.eval", "score an encoder by few-shot episodes"),
    "ensemble": ("ancor.cli.eval", "score several encoders by their mean probabilities"),
    "concat": ("ancor.cli.eval", "score several encoders on their features side by side"),
    "cascade": ("ancor.cli.eval", "score two encoders, coarse class first"),
    "predict": ("ancor.cli.predict", "classify images by a few images of each class"),
    "search": ("ancor.cli.search", "find the nearest pictures of your own for a picture"),
    "choose": ("ancor.cli.choose", "say which encoder and classifier suit one's images best"),
    "embed": ("ancor.cli.embed", "write features of images, for training heads on them"),
    "discover": ("ancor.cli.discover", "find sub-classes inside coarse classes"),
    "app": ("ancor.cli.app", "label a few pictures on a local page, and see the others' answers"),
    "tsne": ("ancor.cli.tsne", "draw t-SNE pictures of an encoder's features"),
    "localize": ("ancor.cli.localize", "draw where an encoder looks"),
    "neighbors": ("ancor.cli.neighbors", "draw images beside their nearest neighbors"),
    "methods": ("ancor.cli.methods", "list the training methods, with their defaults"),
    "compare": ("ancor.cli.compare", "draw training curves of runs, and tell how they differ"),
    "show": ("ancor.cli.show", "draw a contact sheet of training's augmentations"),
    "board": ("ancor.cli.board", "write features and pictures into a run's TensorBoard"),
    "check-data": ("ancor.cli.check_data", "say what a dataset is like and what would stop a run"),
    "partition": ("ancor.cli.partition", "divide a folder's images into partitions, in a table"),
    "pack": ("ancor.cli.pack", "write a dataset's images into one file that --data takes"),
    "inspect": ("ancor.cli.inspect", "say what a checkpoint or weights file is"),
    "export": ("ancor.cli.export", "write an encoder as ONNX, .pt2 or .safetensors"),
    "push": ("ancor.cli.push", "share an encoder on the Hugging Face hub"),
    "doctor": ("ancor.cli.doctor", "say whether this machine computes rightly, and fast"),
    "completion": ("ancor.cli.completion", "print what completes these commands in a shell"),
}

ALIASES = {"neighbours": "neighbors"}


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first argument names and return its exit status."""
    return heard(lambda: _dispatched(sys.argv[1:] if argv is None else argv))


def _dispatched(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"ancor {ancor.__version__}")
        return 0
    name = ALIASES.get(argv[0], argv[0])
    if name not in COMMANDS:
        near = did_you_mean(argv[0], COMMANDS)
        tell(
            f"ancor: error: command {argv[0]!r:.{LONGEST}} is not known{near}; accepted: "
            f"{', '.join(COMMANDS)}"
        )
        return 2
    return function_of(name, "main")(argv[1:])


def function_of(command: str, function: str) -> Callable:
    """Return `main` or `build_parser` of a command."""
    module = COMMANDS[command][0]
    found = getattr(import_module(module), function)
    several = sum(other == module for other, _ in COMMANDS.values()) > 1
    return partial(found, name=command) if several else found


def usage() -> str:
    """List the commands, one a line."""
    lines = [f"  {name:<12}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        ["usage: ancor COMMAND ... (COMMAND --help lists its flags; --version)", *lines]
    )


if __name__ == "__main__":
    sys.exit(main())
