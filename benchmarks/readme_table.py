"""README's table of real photographs, made of the cells of benchmarks/ablation.

python benchmarks/readme_table.py           # print it
python benchmarks/readme_table.py --write   # bring README.md up to date
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from ablation import MEASURES, load  # noqa: E402
from studies import COARSE, FROZEN_ROW, STUDIES, WEAKER  # noqa: E402

README = ROOT / "README.md"
PART = re.compile(r"(<!-- photographs -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = {
    "Grocery Store, 81 products": ("grocery-heads", "grocery-fine-tuning"),
    "CIFAR-100, 100 classes": ("cifar100-fine-tuning",),
}
# Titles of rows, with the study and row that each is of; of another dataset, its study's like it.
ROWS = {
    "frozen": ("fine-tuning", FROZEN_ROW),
    "head on it, SNCA": ("heads", "snca"),
    "fine-tuned, cross-entropy": ("fine-tuning", COARSE),
    "fine-tuned, ANCOR": ("fine-tuning", f"ancor, {WEAKER}"),
    "fine-tuned, SNCA": ("fine-tuning", "snca"),
}


def found(studies: tuple[str, ...], kind: str, row: str) -> str:
    """Write a row's 1-shot means over all seeds of the study of a kind; empty: it was not run."""
    for study in studies:
        cells = load(study).get(row, {}) if study.endswith(kind) else {}
        if cells:
            assert row == FROZEN_ROW or len(cells) == len(STUDIES[study].seeds), (study, row)
            means = [
                np.mean([cell["results"][f"{measure}, 1"]["accuracy"] for cell in cells.values()])
                for measure in MEASURES.values()
            ]
            return " / ".join(f"{mean:.1f}" for mean in means)
    return ""


def table() -> str:
    """Lay out 5-way / all-way / intra-class of each dataset."""
    lines = [f"| trained on coarse labels | {' | '.join(COLUMNS)} |", "| --- | --- | --- |"]
    for title, (kind, row) in ROWS.items():
        shown = [found(studies, kind, row) for studies in COLUMNS.values()]
        lines.append(f"| {title} | {' | '.join(shown)} |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Return README's text with its table made anew."""
    return PART.sub(lambda part: f"{part[1]}\n{table()}\n\n{part[2]}", page)


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
