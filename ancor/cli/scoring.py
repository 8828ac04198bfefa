"""What eval, ensemble, concat and cascade share: their flags, and the way from them to a report."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ancor.cli.arguments import CLASSIFIER_HELP, Parser, add_evaluation_flags

if TYPE_CHECKING:
    import numpy as np

    from ancor.cli.evaluation import Subject
    from ancor.data.episodes import Protocol
    from ancor.data.partition import Partition
    from ancor.evaluation.feature_bank import FeatureBank
    from ancor.evaluation.plan import Plan
    from ancor.evaluation.report import Result


def add_scoring_flags(parser: Parser, many: bool) -> None:
    """Add all flags that the four commands share; `many`: whether they take several models."""
    episodes = add_evaluation_flags(parser, many)
    add = episodes.add_argument
    add(
        "--n-shots",
        type=int,
        nargs="+",
        default=[1],
        metavar="N",
        help="support images a class; several numbers give several evaluations (default: 1)",
    )
    add("--n-ways", type=int, default=5, metavar="N", help="classes an episode (default: 5)")
    add("--n-test-runs", type=int, default=1000, metavar="N", help="episodes (default: 1000)")
    add(
        "--n-aug-support-samples",
        type=int,
        default=5,
        metavar="A",
        help="augmented copies of each support image (default: 5)",
    )
    add(
        "--support-views",
        type=int,
        default=10,
        metavar="V",
        help="augmented views an image, of which an episode draws A; 0: fresh ones for every use "
        "(default: 10)",
    )
    add("--fg", action="store_true", help="classes of one coarse class, instead of all-way")
    add("--cls", default="LR", metavar="NAME", help=f"classifier: {CLASSIFIER_HELP} (default: LR)")
    add(
        "--only-base",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="backbone features, or the head's embedding (default: --only-base)",
    )
    report = parser.add_argument_group("report")
    report.add_argument("--json", metavar="FILE", help="write the results")
    report.add_argument("--csv", metavar="FILE", help="write each episode's accuracy")
    report.add_argument(
        "--plot",
        metavar="DIR",
        help="draw histograms of the accuracy and, of all-way, the confusion matrix",
    )


def require_models(
    args: argparse.Namespace, script: str, at_least: int, at_most: int = 100
) -> None:
    """Raise an InputError where --model-path names too few or too many files."""
    from ancor.errors import InputError

    count = len(args.model_path)
    if not at_least <= count <= at_most:
        needed = "exactly 2: the coarse model first" if at_most == 2 else f"at least {at_least}"
        raise InputError(
            f"--model-path names {count} file{'s' * (count > 1)}, and {script} takes {needed}"
        )


def score_models(
    args: argparse.Namespace,
    script: str,
    predict: Callable,
    kinds: Callable[[Sequence], list[str]],
    baseline: Callable | None = None,
) -> None:
    """Evaluate as the arguments say, and report.

    Args:
        args: the arguments.
        script: its name, for the report.
        predict: a predictor (`ancor.evaluation.predictors`).
        kinds: from the subjects to the kind of features that each gives; may refuse them.
        baseline: from the subject to another encoder, to be scored on the same episodes.
    """
    from ancor.cli.evaluation import output_path, read_subjects
    from ancor.data.scan import report_skipped
    from ancor.evaluation.plan import plan_evaluations
    from ancor.evaluation.report import table, write_episodes, write_json

    protocols = _protocols(args)
    subjects = read_subjects(args, args.only_base)
    kinds = kinds(subjects)
    first = subjects[0]
    plan = plan_evaluations(
        first.data.sampler(first.partition, args.mode),
        [protocol for _, protocol in protocols],
        args.n_test_runs,
        args.support_views,
        args.seed,
        first.data.transforms,
    )
    for line in plan.notes:
        print(f"Notice: {line}")
    json_path, csv_path = output_path(args.json), output_path(args.csv)
    if args.plot:
        output_path(f"{args.plot}/report.txt")
    banks = [subject.bank(kind) for subject, kind in zip(subjects, kinds, strict=True)]
    other = [] if baseline is None else [first.bank(kinds[0], baseline(first))]
    outcomes = _score(args, plan, protocols, banks, other, predict, first.partition)
    results = [result for result, _ in outcomes]
    print(f"\n{table(results)}")
    if json_path is not None:
        write_json(json_path, results, _about(args, script, subjects, plan))
    if csv_path is not None:
        write_episodes(csv_path, results)
    if args.plot:
        _plot(args, outcomes, first)
    report_skipped(first.partition)


def _protocols(args: argparse.Namespace) -> "list[tuple[str, Protocol]]":
    """List (mode, protocol) of all evaluations."""
    from ancor.data.episodes import ALL_WAYS, Protocol
    from ancor.errors import InputError

    shots = list(dict.fromkeys(args.n_shots))
    if len(shots) < len(args.n_shots):
        raise InputError(f"--n-shots {' '.join(map(str, args.n_shots))}: give each number once")
    protocols = []
    for number in shots:
        kinds = {"N-Way": (args.n_ways, False), "All-Way": (ALL_WAYS, False)}
        if args.fg:
            kinds = {"N-Way": (args.n_ways, False), "Fine-Grained": (args.n_ways, True)}
        sizes = (number, args.n_queries, args.n_aug_support_samples)
        for mode, (ways, intra_class) in kinds.items():
            protocol = Protocol(ways, *sizes, intra_class, args.equal_queries)
            protocols.append((mode, protocol))
    return protocols


def _score(
    args: argparse.Namespace,
    plan: "Plan",
    protocols: "list[tuple[str, Protocol]]",
    banks: "list[FeatureBank]",
    other: "list[FeatureBank]",
    predict: Callable,
    partition: "Partition",
) -> "list[tuple[Result, np.ndarray]]":
    """Score every evaluation; print as results come; return them with confusion counts."""
    import numpy as np

    from ancor.evaluation.report import Result, confusion, errors_in_coarse
    from ancor.evaluation.scoring import score

    names = partition.hierarchy.names(args.mode)
    baselines = score(plan, other, predict) if other else None
    found = []
    for which, outcome in enumerate(score(plan, banks, predict)):
        mode, protocol = protocols[which]
        base = next(baselines) if baselines else None
        counts = confusion(plan, which, outcome.predictions, len(names))
        within = None
        if args.mode == "fine" and mode != "Fine-Grained":
            within = errors_in_coarse(counts, np.array(partition.hierarchy.coarse_of_fine))
        result = Result(
            mode,
            protocol,
            plan.ways(which),
            plan.queries(which),
            args.cls,
            outcome.accuracies,
            base.accuracies if base else None,
            outcome.seconds + (base.seconds if base else 0),
            within,
        )
        if len(args.n_shots) > 1:
            print(f"Shots: {protocol.n_shots}")
        print("\n".join(result.lines(args.partition)), flush=True)
        found.append((result, counts))
    return found


def _plot(
    args: argparse.Namespace, outcomes: "list[tuple[Result, np.ndarray]]", subject: "Subject"
) -> None:
    """Draw what --plot asks for into its folder."""
    from pathlib import Path

    from ancor.cli.pictures import save
    from ancor.evaluation.plan import mean_and_interval
    from ancor.plots.evaluation import confusion_figure, histogram_figure

    hierarchy = subject.partition.hierarchy
    title = f"{subject.data.dataset}, {args.partition}"
    for result, counts in outcomes:
        name = f"{result.mode.lower()}_{result.protocol.n_shots}shot"
        about = f"{title}: {result.mode}, {result.n_ways} ways, {result.protocol.n_shots} shots"
        interval = mean_and_interval(result.scores)
        figures = {f"histogram_{name}": histogram_figure(result.scores, *interval, about)}
        if result.mode == "All-Way":
            coarse = hierarchy.coarse_of_fine if args.mode == "fine" else None
            names = hierarchy.names(args.mode), hierarchy.coarse_names
            figures[f"confusion_{name}"] = confusion_figure(
                counts, *names, coarse, result.errors_in_coarse, about
            )
        for stem, figure in figures.items():
            path = Path(args.plot) / f"{stem}.png"
            save(figure, path, dpi=150)


def _about(
    args: argparse.Namespace, script: str, subjects: "Sequence[Subject]", plan: "Plan"
) -> dict[str, Any]:
    """Collect what the results depend on."""
    import platform

    import torch

    import ancor
    from ancor.checkpoints.checkpoint import sha256
    from ancor.evaluation.report import episodes_hash

    models = [
        {
            "path": subject.path,
            "sha256": sha256(subject.path),
            "epoch": subject.content["epoch"],
            "selected_on": subject.content["config"]["selected_on"],
        }
        for subject in subjects
    ]
    return {
        "script": script,
        **({"checkpoint": models[0]} if len(models) == 1 else {"checkpoints": models}),
        "dataset": subjects[0].data.dataset,
        "partition": args.partition,
        "classes": args.mode,
        "only_base": args.only_base,
        "support_views": args.support_views,
        "seed": args.seed,
        "precision": args.precision or "fp32",
        "episodes_sha256": episodes_hash(plan),
        "notes": list(plan.notes),
        "versions": {
            "ancor": ancor.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
