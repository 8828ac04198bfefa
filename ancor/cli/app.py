"""Label a few pictures of a folder on a local page, and see what follows for all others."""

import argparse
import shlex
from pathlib import Path

from ancor.cli.arguments import Parser, main_of, say
from ancor.cli.discover import start_words
from ancor.cli.models import add_model_flags, model_paths, read_models_of, tell_skipped
from ancor.cli.options import add_settings
from ancor.evaluation.config import EvaluationConfig

EXAMPLE = """example, of your own photographs (pip install 'ancor-toolkit[app,timm]'):
  python -m ancor app --arch timm:resnet18 --pretrained --data photos --output runs/labels"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="ancor app", description=__doc__, epilog=EXAMPLE)
    add_model_flags(parser, partition="train", cache="in --output")
    features = ("only_base", "features_out")
    add_settings(parser, EvaluationConfig, "model", features, filled=True)
    add = parser.add_argument_group("page").add_argument
    add(
        "--output",
        required=True,
        metavar="DIR",
        help="folder that keeps the labels and what is saved; an earlier session in it goes on",
    )
    add("--port", type=int, default=8765, metavar="N", help="0: one that is free (default: 8765)")
    what = "interface to listen at; others than this machine's own make a token"
    add("--host", default="127.0.0.1", metavar="NAME", help=f"{what} (default: 127.0.0.1)")
    return parser


def command(args: argparse.Namespace) -> None:
    """Serve the page as the arguments say."""
    from ancor.fewshot.app import serve

    folder = Path(args.output)
    args.feature_cache = args.feature_cache or str(folder / "features")
    with serve.Server(args.host, args.port) as server:
        (model,), partition = read_models_of(args, args.only_base)
        session = serve.read_session(
            model,
            partition,
            folder,
            only_base=args.only_base,
            features_out=args.features_out,
            allow_outside_root=bool(args.allow_outside_root),
        )
        tell_skipped(partition)
        say(f"Open {server.address} in a browser; labels are kept in {folder}; Ctrl-C ends this")
        name = model_paths(args)[0].partition("=")[0]
        server.run(session, name, shlex.join(start_words(model)))
    say(f"Labels are kept in {folder}; the same command goes on with them")


main = main_of(build_parser, command, logs=True)
