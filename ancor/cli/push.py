"""Push an encoder to the Hugging Face hub, where `hf-hub:OWNER/NAME` loads it from."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from ancor.cli.arguments import Parser, main_of, say
from ancor.runtime.lazy import Lazy

hub, push = Lazy("ancor.checkpoints.hub"), Lazy("ancor.checkpoints.push")
EXAMPLE = """example, after the one of train.py --help; with --folder DIR nothing is sent:
  python -m ancor push --model-path runs/digits/model_best.pth.tar --repo me/digits"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor push", description=__doc__, epilog=EXAMPLE)
    add = parser.add_argument_group("push").add_argument
    add("--model-path", required=True, metavar="FILE", help="a checkpoint that train.py wrote")
    add("--repo", required=True, metavar="OWNER/NAME", help="repository; created if there is none")
    add("--private", action="store_true", help="make a new repository private")
    add("--folder", metavar="DIR", help="write what would be sent there, and send nothing")
    return parser


def command(args: argparse.Namespace) -> None:
    """Push as the arguments say."""
    hub.check_repository(args.repo)
    if args.folder is not None:
        push.write(args.model_path, Path(args.folder), args.repo)
        say(f"Wrote {args.folder}; nothing was sent")
        return
    with TemporaryDirectory() as folder:
        push.write(args.model_path, Path(folder), args.repo)
        address = push.push(Path(folder), args.repo, args.private)
    say(f"Pushed to {address}; load it as hf-hub:{args.repo}")


main = main_of(build_parser, command)
