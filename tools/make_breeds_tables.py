"""Write ancor/data/datasets/breeds_tables/*.json from the three BREEDS hierarchy files.

    python tools/make_breeds_tables.py DIR

DIR holds dataset_class_info.json, class_hierarchy.txt and node_names.txt (the `modified` hierarchy
of the BREEDS benchmarks). The `robustness` package draws the classes: pip install robustness.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ancor.data.datasets import breeds_classes
from ancor.errors import InputError

TABLES = Path(breeds_classes.__file__).parent / "breeds_tables"


def content(name: str, info: Path) -> dict:
    """Compute all splits of a set: what its JSON file holds."""
    level = breeds_classes.LEVELS[name]
    splits = (None, *breeds_classes.SPLITS)
    tables = {split: breeds_classes.computed_table(info, *level, split) for split in splits}
    names = {wnid: text for table in tables.values() for wnid, text in table.class_names.items()}
    plain = tables[None]
    return {
        "info_sha256": breeds_classes.info_digest(info),
        "superclasses": dict(zip(plain.superclasses, plain.names, strict=True)),
        "splits": {
            split or "none": [[" ".join(row) for row in half] for half in (t.source, t.target)]
            for split, t in tables.items()
        },
        "class_names": dict(sorted(names.items())),
    }


def main() -> int:
    """Write the four tables; exit status 2 where the files or the package are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("info", type=Path, help="folder of the three hierarchy files")
    info = parser.parse_args().info
    TABLES.mkdir(exist_ok=True)
    for name in breeds_classes.SETS:
        try:
            text = json.dumps(content(name, info), indent=0, ensure_ascii=False)
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        (TABLES / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(TABLES / f"{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
