"""The paper's comparison on data that can be had anywhere, and the experiments behind defaults.

Every cell, a row of a study with one seed, is a training and two evaluations, run as a user would
run them. Its result is kept in `benchmarks/ablation/STUDY/ROW-SEED.json`, with its commands, so
that what was interrupted goes on with the next cell.

    python benchmarks/ablation.py --list                  # studies, and what is done of each
    python benchmarks/ablation.py digits glyphs --jobs 2  # run what is missing; print the tables
    python benchmarks/ablation.py digits --tables         # print only
    python benchmarks/ablation.py grocery-heads --data GroceryStoreDataset
    python benchmarks/ablation.py --write                 # bring the pages' tables up to date
"""

import argparse
import csv
import json
import math
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from studies import ANCOR, COARSE, FROZEN_ROW, METHODS, MOCO, STUDIES, Study  # noqa: E402

from ancor.evaluation.plan import mean_and_interval  # noqa: E402
from ancor.runtime.devices import describe, pick_device  # noqa: E402

FOLDER = ROOT / "benchmarks" / "ablation"
FIGURE = ROOT / "docs" / "images" / "ablation.png"
PAGES = ROOT / "docs" / "experiments.md", ROOT / "docs" / "results.md"
# What stands between two such lines of a page is made of the cells.
PART = re.compile(r"(<!-- tables: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
PANELS = 3  # of the figure, side by side
MEASURES = {"N-Way": "5-way", "All-Way": "all-way", "Fine-Grained": "intra-class"}
UNTRAINED = "untrained"


def cell_path(study: str, row: str, seed: int) -> Path:
    """Return where a cell's result lies."""
    name = re.sub(r"[^a-z0-9.]+", "-", row.lower()).strip("-")
    return FOLDER / study / f"{name}-{seed}.json"


def prepare(study: Study, places: dict[str, str]) -> None:
    """Make what the cells of a study share, unless it is there."""
    if study.first:
        *command, output = shlex.split(study.first.format_map(places))
        if not Path(output).exists():
            subprocess.run([sys.executable, *command, output], cwd=ROOT, check=True)


def run_cell(name: str, row: str, seed: int, threads: int, places: dict[str, str]) -> None:
    """Train and evaluate; write the result."""
    study = STUDIES[name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    commands, seconds = [f"python {study.first}"] if study.first else [], []
    results, figures = {}, {}
    with tempfile.TemporaryDirectory() as folder:

        def call(command: str) -> None:
            commands.append(shlex.join(["python", *shlex.split(command)]))
            script, *flags = shlex.split(command.format_map(places))
            started = perf_counter()
            subprocess.run(
                [sys.executable, str(ROOT / script), *flags],
                cwd=folder,
                env=environment,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds.append(round(perf_counter() - started, 1))

        if row == FROZEN_ROW:
            model, base = study.frozen, ""
        else:
            validated = "" if study.curve else "--val-episodes 0 "
            call(
                f"train.py {study.flags} {study.rows[row]} --seed {seed} --select last "
                f"{validated}--quiet --output-dir run"
            )
            model = "--model_path run/model_best.pth.tar"
            compared = study.gains or (study.compares_methods and row == ANCOR)
            base = "--untrained" if compared else ""
        if study.then:
            call(study.then)
        for flags in (f"{base} {study.figures}", f"{base} --fg"):
            call(
                f"eval.py {model} --partition {study.partition} "
                f"--n_shots {' '.join(map(str, study.shots))} {study.evaluate} {flags} "
                "--feature-cache cache --json report.json --csv episodes.csv"
            )
            results |= read_report(Path(folder))
            report = json.loads((Path(folder) / "report.json").read_text(encoding="utf-8"))
            figures |= read_figures(report)
        curve = read_curve(Path(folder) / "run" / "metrics.jsonl") if study.curve else []
    about = {
        "study": name,
        "row": row,
        "seed": seed,
        "commands": commands,
        "seconds": seconds,
        "threads": threads,
        "commit": commit(),
        "processor": processor(),
        "device": device_name(),
        "versions": report["versions"],
        **({"figures": figures} if figures else {}),
        **({"curve": curve} if curve else {}),
    }
    path = cell_path(name, row, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, "results": results}, indent=1)
    # A list of numbers is a line.
    text = re.sub(r"\[[\d\s,]+\]", lambda found: re.sub(r"\s+", "", found[0]), text)
    path.with_suffix(".part").write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".part").replace(path)


def read_report(folder: Path) -> dict[str, dict]:
    """Return results by `measure, shots`; the correct answers of each episode among them."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    rows: dict[tuple[str, str], list[float]] = {}
    with open(folder / "episodes.csv", newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            rows.setdefault((line["mode"], line["n_shots"]), []).append(float(line["accuracy"]))
    results = {}
    for result in report["results"]:
        scores, base = rows[result["mode"], str(result["n_shots"])], result.get("untrained")
        results[f"{MEASURES[result['mode']]}, {result['n_shots']}"] = {
            "accuracy": round(result["accuracy"], 3),
            "ci95": round(result["ci95"], 3),
            **({UNTRAINED: round(base["accuracy"], 3)} if base else {}),
            **({f: round(base[f], 3) for f in ("gain", "gain_ci95")} if base else {}),
            "episode_accuracies": [round(100 * score) for score in scores],  # hundredths of 1%
        }
    return results


def read_figures(report: dict) -> dict[str, float]:
    """Return what a report says beside episodes, in percent, by the names of `FIGURES`."""
    figures = {}
    if "retrieval" in report:
        for name, part in (("", "whole"), (" in kind", "within_coarse")):
            figures[f"recall@1{name}"] = report["retrieval"][part]["recall"]["1"]
    if "clusters" in report:
        for name, part in (("clusters in kind", "inside_mean"), ("clusters", "over_all")):
            for measure in ("accuracy", "ari"):
                figures[f"{name}, {measure}"] = 100 * report["clusters"][part][measure]
    for found in report.get("open_set", []):
        if (found["mode"], found["n_shots"]) == ("All-Way", 1):
            figures[f"AUROC, {found['unknown']}"] = found["auroc_similarity"]["mean"]
    return {name: round(value, 2) for name, value in figures.items()}


def read_curve(path: Path) -> list[dict[str, float]]:
    """Return the validation of each epoch from a run's log."""
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [
        {
            "epoch": line["epoch"],
            **{m: round(line[f"validation/{m}"], 2) for m in ("5-way", "intra-class")},
        }
        for line in lines
        if line["kind"] == "epoch" and "validation/5-way" in line
    ]


def commit() -> str | None:
    """Return the commit that is run; None outside a checkout."""
    if shutil.which("git") is None:
        return None
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or None


def processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"model name\s*:\s*(.*)", text)
    return found[1] if found else platform.machine()


def device_name() -> str:
    """Return what commands run on: `cpu`, or a GPU's name."""
    device = pick_device()
    return device.type if device.type == "cpu" else describe(device)


def load(name: str) -> dict[str, dict[int, dict]]:
    """Return a study's finished cells, by row and seed."""
    study, found = STUDIES[name], {}
    order = [FROZEN_ROW, *study.rows]
    for row, seed in sorted(study.cells, key=lambda cell: order.index(cell[0])):
        path = cell_path(name, row, seed)
        if path.exists():
            cell = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(row, {})[seed] = cell
    return found


def measures(study: Study) -> list[str]:
    """List the names of a study's results."""
    return [f"{measure}, {shots}" for shots in study.shots for measure in MEASURES.values()]


def scores(cell: dict, measure: str) -> np.ndarray:
    """Return the accuracies of a cell's episodes, in percent."""
    return np.array(cell["results"][measure]["episode_accuracies"]) / 100


def accuracies(cells: dict[str, dict[int, dict]], row: str, measure: str) -> list[float]:
    """Return a row's accuracy with each seed; those of the untrained row are in ANCOR's cells."""
    source, field = (first_row(cells), UNTRAINED) if row == UNTRAINED else (row, "accuracy")
    return [cell["results"][measure][field] for cell in cells.get(source, {}).values()]


def mean_and_spread(values: list[float]) -> str:
    """Write the mean over seeds, and the lowest and highest of several."""
    spread = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def first_row(cells: dict[str, dict[int, dict]]) -> str:
    """Return the row that was compared with untrained networks: ANCOR's where there is one."""
    return ANCOR if ANCOR in cells else next(iter(cells))


def accuracy_table(name: str) -> str:
    """Lay out a study's accuracies: the mean over its seeds, and the lowest and highest of them."""
    study, cells = STUDIES[name], load(name)
    columns = measures(study)
    lines = [f"| {name} | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    compared = study.gains or (ANCOR in cells and study.compares_methods)
    compared = compared and FROZEN_ROW not in cells
    untrained = [UNTRAINED] if cells and compared else []
    for row in [*untrained, *cells]:
        shown = []
        for measure in columns:
            values = accuracies(cells, row, measure)
            shown.append(mean_and_spread(values))
        whole = len(values) == len(study.seeds) or row == FROZEN_ROW
        part = "" if whole else f" ({len(values)} of {len(study.seeds)} seeds)"
        title = "frozen" if study.gains and row == UNTRAINED else row
        lines.append(f"| {title}{part} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def difference_table(name: str) -> str:
    """Lay out what ANCOR gains: the paired 95% interval over the same episodes, for each seed."""
    study, cells = STUDIES[name], load(name)
    lines = []
    others = [row for row in (COARSE, MOCO, "seq + norm") if row in cells]
    for other in others:
        for seed in study.seeds:
            pair = [cells.get(row, {}).get(seed) for row in (ANCOR, other)]
            if None in pair:
                continue
            shown = []
            for measure in measures(study):
                mean, half = mean_and_interval(scores(pair[0], measure) - scores(pair[1], measure))
                shown.append(f"{mean:+.1f} ± {half:.1f}")
            lines.append(f"| {other}, seed {seed} | " + " | ".join(shown) + " |")
    head = [f"| {name}: ANCOR minus | " + " | ".join(measures(study)) + " |"]
    return "\n".join([*head, "| --- " * (len(measures(study)) + 1) + "|", *lines])


def gain_table(name: str) -> str:
    """Lay out gains over what a training started from: see `paired_table`."""

    def gain(_: int, cell: dict, measure: str) -> tuple[float, float]:
        return tuple(cell["results"][measure][field] for field in ("gain", "gain_ci95"))

    return paired_table(name, f"{name}: gain", gain, {FROZEN_ROW})


def over_coarse_table(name: str) -> str:
    """Lay out what each row gains over coarse labels only with the same seed: `paired_table`."""
    coarse = load(name)[COARSE]

    def difference(seed: int, cell: dict, measure: str) -> tuple[float, float]:
        return mean_and_interval(scores(cell, measure) - scores(coarse[seed], measure))

    return paired_table(name, f"{name}: minus {COARSE}", difference, {FROZEN_ROW, COARSE})


def paired_table(name: str, title: str, paired: Callable, left_out: set[str]) -> str:
    """Lay out paired differences: the mean over seeds, and from where to where intervals reach.

    Args:
        name: the study.
        title: of the rows.
        paired: from seed, cell and measure to a mean and half of its interval.
        left_out: rows that have none.
    """
    columns = measures(STUDIES[name])
    lines = [f"| {title} | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for row, of_row in load(name).items():
        if row in left_out:
            continue
        shown = []
        for measure in columns:
            found = [paired(seed, cell, measure) for seed, cell in of_row.items()]
            means, halves = np.array(found).T
            low, high = (means - halves).min(), (means + halves).max()
            shown.append(f"{means.mean():+.1f} ({low:+.1f} to {high:+.1f})")
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def figure_table(name: str) -> str:
    """Lay out what is no episode: the mean over seeds, and the lowest and highest of them."""
    cells = load(name)
    columns = list(next(iter(next(iter(cells.values())).values()))["figures"]) if cells else []
    lines = [f"| {name}: % | " + " | ".join(columns) + " |"]
    lines += ["| --- " * (len(columns) + 1) + "|"]
    for row, of_row in cells.items():
        found = [[cell["figures"][column] for cell in of_row.values()] for column in columns]
        lines.append(f"| {row} | " + " | ".join(map(mean_and_spread, found)) + " |")
    return "\n".join(lines)


def curve_table(name: str) -> str:
    """Lay out validation of some epochs, 5-way / intra-class with one shot: the mean over seeds."""
    cells = load(name)
    lengths = [len(cell["curve"]) for of_row in cells.values() for cell in of_row.values()]
    last = min(lengths, default=0)
    epochs = sorted({max(1, round(last * part)) for part in (0.05, 0.1, 0.25, 0.5, 0.75, 1)})
    lines = [f"| {name}: after epoch | " + " | ".join(map(str, epochs)) + " |"]
    lines += ["| --- " * (len(epochs) + 1) + "|"]
    for row, of_row in cells.items():
        shown = []
        for epoch in epochs:
            points = [cell["curve"][epoch - 1] for cell in of_row.values()]
            means = [np.mean([p[m] for p in points]) for m in ("5-way", "intra-class")]
            shown.append(" / ".join(f"{mean:.1f}" for mean in means))
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def tables(name: str) -> str:
    """Return all of a study's tables."""
    study = STUDIES[name]
    compared = [difference_table(name)] if study.compares_methods else []
    gains = [gain_table(name)] if study.gains else []
    if study.gains and COARSE in load(name):
        gains.append(over_coarse_table(name))
    figures = [figure_table(name)] if study.figures else []
    curves = [curve_table(name)] if study.curve else []
    return "\n\n".join([accuracy_table(name), *compared, *gains, *figures, *curves])


def comparisons() -> list[str]:
    """List the studies of the paper's comparison, of several seeds, that have all of ANCOR."""
    return [
        name
        for name, study in STUDIES.items()
        if study.is_the_papers
        and len(study.seeds) > 1
        and load(name).get(ANCOR, {}).keys() == set(study.seeds)
    ]


def summary_table() -> str:
    """Lay out the 1-shot means over seeds of all comparisons: 5-way / all-way / intra-class."""
    names = comparisons()
    cells = {name: load(name) for name in names}
    lines = [f"| method | {' | '.join(names)} |", "| --- " * (len(names) + 1) + "|"]
    for row in (UNTRAINED, *METHODS):
        shown = []
        for name in names:
            found = [accuracies(cells[name], row, f"{m}, 1") for m in MEASURES.values()]
            whole = [values for values in found if len(values) == len(STUDIES[name].seeds)]
            shown.append(" / ".join(f"{np.mean(values):.1f}" for values in whole))
        lines.append(f"| {row} | {' | '.join(shown)} |")
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """Return the page's text with the tables that it asks for, made anew."""

    def made(found: re.Match) -> str:
        table = summary_table() if found[2] == "summary" else tables(found[2])
        return f"{found[1]}\n{table}\n\n{found[3]}"

    return PART.sub(made, page)


def draw(names: list[str]) -> None:
    """Draw 1-shot accuracies: a panel a study, a line a method, a mark a measure and seed."""
    from matplotlib.figure import Figure

    lines = math.ceil(len(names) / PANELS)
    figure = Figure(figsize=(4.2 * PANELS, 3.3 * lines + 0.3), layout="constrained")
    panels = figure.subplots(lines, PANELS, sharey=True, squeeze=False).ravel()
    colors = {"5-way": "#0072B2", "all-way": "#D55E00", "intra-class": "#009E73"}
    rows = [UNTRAINED, *METHODS]
    for axes in panels[len(names) :]:
        axes.remove()
    for axes, name in zip(panels, names, strict=False):
        cells = load(name)
        for number, row in enumerate(rows):
            for (measure, color), marker in zip(colors.items(), "os^", strict=True):
                values = accuracies(cells, row, f"{measure}, 1")
                label = measure if number == len(rows) - 1 else None
                axes.plot(
                    *(values, [number] * len(values), marker),
                    color=color,
                    alpha=0.8,
                    label=label,
                )
        axes.set(title=name, xlabel="accuracy, %", yticks=range(len(rows)), yticklabels=rows)
        axes.grid(axis="both", alpha=0.3)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(FIGURE, dpi=110)
    print(f"Wrote {FIGURE.relative_to(ROOT)}")


def main() -> None:
    """Run what is missing of the named studies, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", choices=[*STUDIES, []], metavar="STUDY")
    parser.add_argument("--list", action="store_true", help="say what there is, and how much done")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    parser.add_argument(
        "--write", action="store_true", help="write the pages' tables, draw the figure"
    )
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side")
    parser.add_argument("--rows", nargs="+", help="only these rows")
    parser.add_argument("--data", default="", help="folder of the dataset, where a study needs one")
    parser.add_argument(
        "--shared", default=str(ROOT / "runs"), help="folder of files that cells share"
    )
    args = parser.parse_args()
    if args.list:
        for name, study in STUDIES.items():
            done = sum(map(len, load(name).values()))
            print(f"{name}: {study.about} ({done} of {len(study.cells)} cells)")
    cells = [
        (name, row, seed)
        for name in args.studies
        for row, seed in STUDIES[name].cells
        if not args.tables and (args.rows is None or row in args.rows)
        if not cell_path(name, row, seed).exists()
    ]
    places = {name: os.path.abspath(getattr(args, name)) for name in ("data", "shared")}
    for name in dict.fromkeys(cell[0] for cell in cells):
        prepare(STUDIES[name], places)
    threads = max(1, len(os.sched_getaffinity(0)) // args.jobs)
    with ThreadPoolExecutor(args.jobs) as pool:
        waiting = [(cell, pool.submit(run_cell, *cell, threads, places)) for cell in cells]
        for (name, row, seed), cell in waiting:
            cell.result()
            print(f"{name}, {row}, seed {seed}: done", flush=True)
    for name in args.studies:
        print(f"\n{tables(name)}")
    if args.write:
        for page in PAGES:
            page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
        draw(comparisons())


if __name__ == "__main__":
    main()
