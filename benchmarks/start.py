"""How long commands take until they begin their work, beside `import torch` alone.

Each is given a file that is not there: it has then imported what every run of it needs, and ends in
one line. They start in turn, so that all meet the same machine.

    python benchmarks/start.py
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).parents[1]
MISSING = ("--model-path", "nothing")
STARTS = {
    "import torch": ("-c", "import torch"),
    "train.py": ["train.py", "--dataset", "digits", "--mode", "coarse", "--resume", "nothing"],
    "eval.py": ("eval.py", *MISSING, "--dataset", "digits"),
    "tsne.py": ("tsne.py", *MISSING, "--dataset", "digits"),
    "ancor predict": ("-m", "ancor", "predict", *MISSING, "--support", ".", "--query", __file__),
    "ancor search": ("-m", "ancor", "search", *MISSING, "--gallery", ".", "--query", __file__),
    "ancor --help": ("-m", "ancor", "--help"),
}


def seconds(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Run Python; return seconds by the clock, and those that the processor worked."""
    before, started = os.times(), perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
    passed, after = perf_counter() - started, os.times()
    worked = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return passed, worked


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found = [{name: seconds(given) for name, given in STARTS.items()} for _ in range(rounds + 1)]
    print(f"median of {rounds}, after one that fills the file cache")
    print("| | seconds | of the processor | beyond `import torch` |")
    print("| --- " * 4 + "|")
    for name in STARTS:
        clock, worked = (median(each[name][kind] for each in found[1:]) for kind in (0, 1))
        beyond = median(each[name][1] - each["import torch"][1] for each in found[1:])
        print(f"| {name} | {clock:.2f} | {worked:.2f} | {max(0.0, beyond):.2f} |")


if __name__ == "__main__":
    main()
