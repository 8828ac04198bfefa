"""Does training on digits' coarse labels help to tell its fine ones apart?

For each seed: trains with the dataset's defaults, then compares the encoder with what it was before
training, on the same 1000 episodes of the test partition. The defaults were chosen on the
validation partition.

    python benchmarks/digits.py --seeds 0 1 2
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ancor.cli import eval as evaluate  # noqa: E402
from ancor.cli import train  # noqa: E402


def measure(seed: int, folder: Path) -> dict[str, dict]:
    """Train with one seed and return the results of the three evaluations by mode."""
    common = ["--dataset", "digits", "--mode", "coarse", "--seed", str(seed), "--quiet"]
    assert train.main([*common, "--output-dir", str(folder)]) == 0
    results = {}
    for flags in ([], ["--fg"]):
        report = folder / "report.json"
        command = ["--model_path", str(folder / "model_best.pth.tar"), "--partition", "test"]
        assert evaluate.main([*command, "--untrained", "--json", str(report), *flags]) == 0
        results |= {r["mode"]: r for r in json.loads(report.read_text())["results"]}
    return results


def main() -> None:
    """Print a table with a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            results = measure(seed, Path(folder))
        cells = [
            f"{r['untrained']['accuracy']:.1f} -> {r['accuracy']:.1f} "
            f"({r['untrained']['gain']:+.1f} ± {r['untrained']['gain_ci95']:.1f})"
            for r in results.values()
        ]
        rows.append(f"| {seed} | {' | '.join(cells)} |")
    print("| seed | " + " | ".join(results) + " |")
    print("| --- " * (1 + len(results)) + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
