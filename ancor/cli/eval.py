"""Score an encoder by few-shot episodes: 5-way and all-way, or inside coarse classes."""

import argparse

from ancor.cli.arguments import CLASSIFIER_HELP, Parser, add_evaluation_flags, run

EXAMPLE = """example, after the one of train.py --help:
  python eval.py --model_path runs/digits/model_best.pth.tar --partition test"""


def build_parser() -> Parser:
    """Build the parser."""
    parser = Parser(prog="eval.py", description=__doc__, epilog=EXAMPLE)
    episodes = add_evaluation_flags(parser)
    episodes.add_argument(
        "--n-ways", type=int, default=5, metavar="N", help="classes an episode (default: 5)"
    )
    episodes.add_argument(
        "--n-test-runs", type=int, default=1000, metavar="N", help="episodes (default: 1000)"
    )
    episodes.add_argument(
        "--n-aug-support-samples",
        type=int,
        default=5,
        metavar="A",
        help="augmented copies of each support image (default: 5)",
    )
    episodes.add_argument(
        "--support-views",
        type=int,
        default=10,
        metavar="V",
        help="augmented views an image, of which an episode draws A; 0: fresh ones for every use "
        "(default: 10)",
    )
    episodes.add_argument(
        "--fg", action="store_true", help="classes of one coarse class, instead of all-way"
    )
    episodes.add_argument(
        "--cls", default="LR", metavar="NAME", help=f"classifier: {CLASSIFIER_HELP} (default: LR)"
    )
    episodes.add_argument(
        "--only-base",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="backbone features, or the head's embedding (default: --only-base)",
    )
    report = parser.add_argument_group("report")
    report.add_argument(
        "--untrained",
        action="store_true",
        help="score the same network before training too, and the gain with its interval",
    )
    report.add_argument("--json", metavar="FILE", help="write the results")
    report.add_argument("--csv", metavar="FILE", help="write each episode's accuracy")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run eval.py and return its exit status."""
    return run(build_parser(), command, argv)


def command(args: argparse.Namespace) -> None:
    """Evaluate as the arguments say."""
    from ancor.cli.evaluation import output_path, read_subject
    from ancor.data.episodes import Protocol
    from ancor.data.inspection import report_skipped
    from ancor.evaluation.classifiers import build_predictor
    from ancor.evaluation.episodic import plan_evaluations
    from ancor.evaluation.report import write_csv, write_json
    from ancor.logs import configure_console

    configure_console()
    predict = build_predictor(args.cls)
    sizes = (args.n_shots, args.n_queries, args.n_aug_support_samples)
    protocols = {"N-Way": Protocol(args.n_ways, *sizes)}
    if args.fg:
        protocols["Fine-Grained"] = Protocol(args.n_ways, *sizes, intra_class=True)
    else:
        protocols["All-Way"] = Protocol(ALL_WAYS, *sizes)
    subject = read_subject(args, args.only_base)
    sampler = subject.data.sampler(subject.partition, args.mode)
    plan = plan_evaluations(
        sampler, list(protocols.values()), args.n_test_runs, args.support_views, args.seed
    )
    json_path, csv_path = output_path(args.json), output_path(args.csv)
    results = _results(args, subject, plan, protocols, predict)
    if json_path is not None:
        write_json(json_path, results, _about(args, subject, plan))
    if csv_path is not None:
        write_csv(csv_path, results)
    report_skipped(subject.partition)


# More classes than any dataset here has: an episode then takes all.
ALL_WAYS = 1_000_000


def _results(args, subject, plan, protocols, predict) -> list:
    """Score the trained encoder and, if asked, the untrained one; print as results come."""
    from time import perf_counter

    from ancor.evaluation.episodic import accuracies
    from ancor.evaluation.report import Result

    embedding = not args.only_base
    started = perf_counter()
    features = subject.bank(subject.encoder, embedding).features(plan.pairs)
    untrained = None
    if args.untrained:
        untrained = subject.bank(_untrained(subject), embedding).features(plan.pairs)
    results = []
    for which, (mode, protocol) in enumerate(protocols.items()):
        scores = accuracies(plan, which, features, predict)
        baseline = accuracies(plan, which, untrained, predict) if args.untrained else None
        ways = max(len(episode.classes) for episode in plan.episodes[which])
        seconds = perf_counter() - started
        results.append(Result(mode, protocol, ways, args.cls, scores, baseline, seconds))
        print("\n".join(results[-1].lines(args.partition)), flush=True)
        started = perf_counter()
    return results


def _untrained(subject):
    """Build the encoder that the subject's training started from."""
    import torch

    from ancor.models.encoder import Encoder
    from ancor.seeding import seeded

    device = next(subject.encoder.parameters()).device
    with seeded(subject.content["config"]["training"]["seed"], "weights"):
        encoder = Encoder(subject.encoder.config)
    return encoder.to(device, memory_format=torch.channels_last)


def _about(args, subject, plan) -> dict:
    """Collect what the results depend on."""
    import platform

    import torch

    import ancor
    from ancor.checkpoint import sha256
    from ancor.evaluation.report import episodes_hash

    return {
        "checkpoint": {
            "path": args.model_path,
            "sha256": sha256(args.model_path),
            "epoch": subject.content["epoch"],
            "selected_on": subject.content["config"]["selected_on"],
        },
        "dataset": subject.data.dataset,
        "partition": args.partition,
        "classes": args.mode,
        "only_base": args.only_base,
        "support_views": args.support_views,
        "seed": args.seed,
        "episodes_sha256": episodes_hash(plan),
        "versions": {
            "ancor": ancor.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
