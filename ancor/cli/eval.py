"""eval, ensemble, concat and cascade: score one or more encoders by few-shot episodes."""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ancor.cli import ending
from ancor.cli.arguments import Parser, say
from ancor.cli.models import add_model_flags, model_paths, read_models_of, tell_skipped
from ancor.cli.options import add_settings
from ancor.cli.pictures import save
from ancor.evaluation.config import EvaluationConfig
from ancor.runtime.lazy import Lazy
from ancor.runtime.settings import settings_of, with_flags
from ancor.safe_io.writing import output_path

captions = Lazy("ancor.plots.captions")  # which imports matplotlib


class Script(NamedTuple):
    """One of the four scripts.

    Attributes:
        combine: how it combines models (`ancor.evaluation.run.COUNTS`).
        does: what it does, for `--help`.
        files: what follows `--model-path` in the example, after which runs.
        of: what the example's files are.
        settings: the settings that only it takes.
    """

    combine: str
    does: str
    files: str = "runs/a/model_best.pth.tar runs/b/model_best.pth.tar"
    of: str = "of two runs on digits"
    settings: tuple[str, ...] = ()


SCRIPTS = {
    "eval": Script(
        "single",
        "Score an encoder by few-shot episodes: 5-way and all-way, or inside coarse classes.",
        "runs/digits/model_best.pth.tar --partition test",
        "after the one of train.py --help",
        ("untrained", "baseline", "open_set", "retrieval", "clusters"),
    ),
    "ensemble": Script(
        "ensemble",
        "Score two or more encoders together: by the mean of their classifiers' probabilities.",
        settings=("average",),
    ),
    "concat": Script(
        "concat",
        "Score two or more encoders together: by one classifier on their features side by side.",
    ),
    "cascade": Script(
        "cascade",
        "Score two encoders in a row: the first tells the coarse class, the second the fine one "
        "in it.",
        of="of two runs on digits, the coarse model first",
    ),
}


def build_parser(name: str = "eval") -> Parser:
    """Build the parser of one of the scripts."""
    script = SCRIPTS[name]
    example = f"example, {script.of}:\n  python {name}.py --model-path {script.files}"
    parser = Parser(prog=f"{name}.py", description=script.does, epilog=example)
    add_model_flags(parser, many=script.combine != "single", cache="nowhere")
    special = {own for other in SCRIPTS.values() for own in other.settings}
    names = [n for n in settings_of(EvaluationConfig) if n not in special or n in script.settings]
    add_settings(parser, EvaluationConfig, "data", names, filled=True)
    report = parser.add_argument_group("report")
    report.add_argument("--json", metavar="FILE", help="write the results")
    report.add_argument("--csv", metavar="FILE", help="write each episode's accuracy")
    report.add_argument(
        "--plot",
        metavar="DIR",
        help="draw histograms of the accuracy and, of all-way, the confusion matrix",
    )
    return parser


def main(argv: list[str] | None = None, name: str = "eval") -> int:
    """Run one of the scripts and return its exit status."""
    return ending.run(build_parser(name), partial(command, name), argv, logs=True)


def command(name: str, args: argparse.Namespace) -> None:
    """Evaluate as the arguments say, and report."""
    from ancor.evaluation import report, run

    given = vars(args)
    config = EvaluationConfig(**{n: given[n] for n in settings_of(EvaluationConfig) if n in given})
    run.check_count(SCRIPTS[name].combine, len(model_paths(args)))
    models, partition = read_models_of(args, config.only_base)
    baseline = None
    if config.baseline is not None:
        (baseline,), _ = read_models_of(args, config.only_base, partition, models[0])
    evaluation = run.Evaluation(models, partition, config, SCRIPTS[name].combine, baseline)
    about = evaluation.about(name)  # at once: a training may write the files anew
    for line in evaluation.plan.notes:
        print(f"Notice: {with_flags(line)}")
    json_path, csv_path = output_path(args.json), output_path(args.csv)
    if args.plot:
        output_path(f"{args.plot}/report.txt")
    results = []
    for result in evaluation.results():
        if len(config.n_shots) > 1:
            print(f"Shots: {result.protocol.n_shots}")
        print("\n".join(result.lines(args.partition)), flush=True)
        results.append(result)
    print(f"\n{report.table(results)}")
    further = evaluation.further()
    for line in [line for found in further.values() for line in ("", *found.lines())]:
        say(line)
    if json_path is not None:
        about |= {key: found.as_dict() for key, found in further.items()}
        report.write_json(json_path, results, about)
    if csv_path is not None:
        report.write_episodes(csv_path, results)
    if args.plot:
        from ancor.plots.evaluation import figures

        kinds = [bank.kind for bank in evaluation.banks]
        told = [model.path for model in models], kinds, config.classifier
        for stem, figure in figures(results, partition, config.mode, captions.caption_of(*told)):
            save(figure, Path(args.plot) / f"{stem}.png", dpi=150)
    tell_skipped(partition)
