"""Command lines, sensible and absurd, drawn from the commands' own parsers."""

import argparse
from pathlib import Path

from hypothesis import strategies as st

from ancor.evaluation.config import CLASSIFIERS
from tests.robustness.fixtures import ODD_NAMES, QUICK

# Not drawn, and why: shows a traceback on purpose; ends at once; needs a compiler and a minute;
# waits for other machines or starts processes, of which the real ones below have a share.
LEFT_OUT = {"debug", "help", "compile", "multiprocessing_distributed", "nproc", "world_size"}
LEFT_OUT |= {"check_gpu"}
WORDS = (
    *("", " ", "-", "--", "-1", "nan", "inf", "-inf", "1e400", "0x10", "1_0", "٣", "None", "auto"),
    *("%s", "{0}", "$HOME", "~", "*", ".", "..", "../x", "a" * 300, "a/" * 40, "\x1b[31m", "\\"),
    *("/dev/null", "/dev/full", "/proc/self/mem", "\udcff", "\u202e", "<b>", "'; --", *ODD_NAMES),
)
NUMBERS = (-(10**30), -(2**63), -1, 0, 1, 2, 3, 10**6, 2**31, 2**32, 10**9, 10**12, 2**63, 10**30)
FRACTIONS = (-1.0, -1e-300, 0.0, 1e-300, 0.1, 0.5, 1.0, 5.0, 1e30, 1e308)
# Sensible values; of numbers such that a case is quick. What has no line here is drawn by its type.
SENSIBLE = {
    "dataset": ("digits", "digits", "glyphs", "folder", "cifar100", "tiered", "aircraft", "breeds"),
    "mode": ("coarse", "fine"),
    "partition": ("train", "validation", "test"),
    "arch": ("conv4", "conv4", "resnet12"),
    "model": ("conv4", "resnet12"),
    "head": ("seq", "fork", "cls", "none"),
    "queue": ("single", "multi", "none"),
    "metric": ("norm", "angular"),
    "cls": CLASSIFIERS,
    "classifier": CLASSIFIERS,
    "C": ("1", "100", "auto"),
    "average": ("geometric", "arithmetic"),
    "unknown": ("auto", "0.3", "1"),
    "unknown_rate": ("0", "0.05", "0.5"),
    "back_off": ("0.3", "1"),
    "select": ("validation", "last"),
    "device": ("cpu", "auto"),
    "precision": ("fp32", "auto", "bf16"),
    "format": ("png", "svg"),
    "split": ("good", "bad", "rand"),
    "calc_types": ("cls", "cst_by_class", "cst"),
    "loss_types": ("ce",),
    "augment_on": ("workers", "device", "auto"),
    "queue_dtype": ("fp32", "bf16"),
    "image_size": ("16", "32", "40"),
    "workers": ("0", "0", "0", "1"),
    "num_workers": ("0", "0", "0", "1"),
    "batch_size": ("2", "16", "64"),
    "test_batch_size": ("1", "16", "256"),
    "accumulate": ("1", "2"),
    "epochs": ("1", "3"),
    "max_steps": ("1", "2"),
    "val_episodes": ("0", "2"),
    "n_test_runs": ("2", "3"),
    "n_ways": ("1", "2", "5", "1000"),
    "n_shots": ("1", "2", "5"),
    "n_queries": ("1", "2", "15"),
    "n_augmentations": ("1", "5"),
    "support_views": ("0", "5", "10"),
    "perplexity": ("1", "5", "30"),
    "queue_k": ("8", "32", "auto"),
    "cst_dim": ("4", "16"),
    "n": ("1", "3"),
    "k": ("1", "5"),
    "images": ("0", "1", "7"),
}
# A run that is asked for a trillion steps takes them: no mistake, but nothing for here.
NUMBERS_OF = {"max_steps": (-(10**30), -1, 0, 1, 2)}
OUTPUTS = {"output", "output_dir", "json", "csv", "plot", "feature_cache", "save", "out", "html"}


def shelf_paths(shelf: Path) -> list[str]:
    """All that stands on the shelf, whole or not, and what does not stand there."""
    found = [*shelf.glob("*/*"), *shelf.glob("*/*/*.tar"), *shelf.glob("models/*/*.json")]
    return [*sorted(map(str, found)), str(shelf / "nowhere"), str(shelf / "files/empty/x")]


def models(shelf: Path) -> list[str]:
    """Whole models, in an order that does not change."""
    return sorted(map(str, shelf.glob("models/*/model_best.pth.tar")))


def flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The parser's flags, the positional ones left out."""
    return [a for a in parser._actions if a.option_strings and a.dest not in LEFT_OUT]


def base_line(command: str, shelf: Path) -> st.SearchStrategy[list[str]]:
    """A command line that is in order, and quick."""
    one = st.sampled_from(models(shelf)).map(lambda path: ["--model-path", path])
    two = st.lists(st.sampled_from(models(shelf)), min_size=2, max_size=2)
    two = two.map(lambda paths: ["--model-path", *paths])
    short = ["--n-test-runs", "2", "--n-queries", "2"]
    folder, support = str(shelf / "data/folder"), str(shelf / "data/folder/train")
    queries = ["--query", str(shelf / "data/folder/train/birds")]
    images = ["--dataset", "folder", "--data", folder]
    classify = st.one_of(
        one.map(lambda line: [*line, "--support", support, *queries]),
        st.just(["--classifier", str(shelf / "models/classes.ancor"), *queries]),
    )
    lines = {
        "train": st.just(["--dataset", "digits", *QUICK]),
        "eval": one.map(lambda line: [*line, *short]),
        "ensemble": two.map(lambda line: [*line, *short]),
        "concat": two.map(lambda line: [*line, *short]),
        "cascade": two.map(lambda line: [*line, *short]),
        "tsne": one.map(lambda line: [*line, "--n-queries", "2"]),
        "board": one.map(lambda line: [*line, "--n-queries", "2", "--n", "5"]),
        "neighbors": one.map(lambda line: [*line, "--n", "2", "--k", "2"]),
        "localize": one.map(lambda line: [*line, "--n", "2"]),
        "inspect": st.sampled_from(shelf_paths(shelf)).map(lambda path: [path]),
        "compare": st.lists(st.sampled_from(shelf_paths(shelf)), min_size=1, max_size=2),
        "show": st.just(["--n", "1"]),
        "check-data": st.sampled_from([[], ["--data", folder], ["--data", str(shelf / "data")]]),
        "predict": classify,
        "app": one.map(lambda line: [*line, *images, "--output", "out", "--port", "0"]),
        "search": one.map(lambda line: [*line, "--gallery", support, *queries]),
        "export": one.map(lambda line: [*line, "--to", "safetensors"]),
        "completion": st.just(["bash"]),
    }
    return lines.get(command, st.just([]))


def value_of(action: argparse.Action, shelf: Path) -> st.SearchStrategy[str]:
    """A value for a flag: mostly sensible, else of the right type, else anything."""
    paths, words = st.sampled_from(shelf_paths(shelf)), st.sampled_from(WORDS)
    numbers = st.sampled_from(NUMBERS_OF.get(action.dest, NUMBERS)).map(str)
    fractions = st.one_of(st.sampled_from(FRACTIONS), st.floats()).map(str)
    text = st.text(st.characters(exclude_characters="\0"), max_size=8)
    if action.dest in OUTPUTS:
        here = ("out", "out/deep/er", "out.png", "out.svg", "out.json", *WORDS)
        return st.one_of(st.sampled_from(here), text.filter(lambda t: ".." not in t[:3]))
    typed = {int: numbers, float: fractions}.get(action.type, st.one_of(words, paths))
    if action.choices:
        typed = st.sampled_from([str(choice) for choice in action.choices])
    wild = st.one_of(numbers, fractions, words, paths, text)
    sensible = SENSIBLE.get(action.dest)
    kinds = [typed] * 7 + [wild] if sensible is None else None
    kinds = kinds or [st.sampled_from(sensible)] * 9 + [typed] * 2 + [wild]
    return st.sampled_from(kinds).flatmap(lambda kind: kind)


@st.composite
def spelled(draw, action: argparse.Action, shelf: Path) -> list[str]:
    """A flag with its values, in one of its spellings."""
    name = draw(st.sampled_from(action.option_strings))
    if name.startswith("--") and draw(st.booleans()):
        name = "--" + name[2:].replace("-", "_")
    if action.nargs == 0:
        return [name]
    least, most = {
        None: (1, 1), "?": (0, 1), "*": (0, 3), "+": (1, 3)
    }.get(action.nargs, (action.nargs, action.nargs))  # fmt: skip
    if draw(st.integers(0, 29)) == 13:  # now and then a wrong number of them
        least, most = 0, 4
    values = draw(st.lists(value_of(action, shelf), min_size=least, max_size=most))
    if len(values) == 1 and name.startswith("--") and draw(st.booleans()):
        return [f"{name}={values[0]}"]
    return [name, *values]


@st.composite
def command_line(draw, command: str, parser: argparse.ArgumentParser, shelf: Path) -> list[str]:
    """A line in order with one to four flags more, now and then with something left out or odd."""
    line = draw(base_line(command, shelf))
    chosen = []
    if known := flags(parser):
        one = st.sampled_from(known)
        chosen = draw(st.lists(one, min_size=1, max_size=4, unique_by=lambda flag: flag.dest))
    for action in chosen:
        line += draw(spelled(action, shelf))
    kind = draw(st.integers(0, 39))
    if kind == 13 and line:
        del line[draw(st.integers(0, len(line) - 1))]
    elif kind == 17:
        line.insert(draw(st.integers(0, len(line))), draw(st.sampled_from(WORDS)))
    return line


def places(command: str, parser: argparse.ArgumentParser, line: list[str]) -> list[Path]:
    """Where a command line says that files go, the flags' defaults included."""
    try:
        args, _ = parser.parse_known_args(line)
    except SystemExit:  # not in order: then nothing is written
        return []
    given = {name: value for name, value in vars(args).items() if value not in (None, "", False)}
    named = [str(given[flag]) for flag in OUTPUTS & given.keys()]
    if command == "train":
        resumed = Path(given["resume"]).parent if given.get("resume", "auto") != "auto" else "runs"
        named.append(str(given.get("output_dir", resumed)))
    defaults = {"show": [], "compare": ["compare.png"], "export": []}
    named += defaults.get(command, [])
    if command == "show":
        named += [f"show_{name}.png" for name in ("digits", "glyphs", "folder", "cifar100")]
        named += [f"show_{name}.png" for name in ("tiered", "aircraft", "breeds")]
    beside = given.get("model_path")
    beside = beside[0] if isinstance(beside, list) else beside
    if beside and command in ("tsne", "board", "localize", "neighbors", "export"):
        named.append(str(Path(beside).resolve().parent))
    if (given.get("download") or command == "partition") and "root" in given:
        named.append(str(given["root"]))
    return [Path(place) for place in named]
