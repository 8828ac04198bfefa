"""Whatever lies in a folder of data: check-data and train.py keep the promise."""

from hypothesis import given
from hypothesis import strategies as st

from ancor.cli.check_data import main as check_data
from ancor.cli.train import main as train
from tests.robustness.datasets import LAYOUTS
from tests.robustness.fixtures import QUICK
from tests.robustness.harness import keep
from tests.robustness.sizes import Tally, draws

# Folders and tables are what users make by hand: half of all.
KINDS = ("folders", "folders", "folders", "labels.csv", "labels.csv", *LAYOUTS)


def test_any_small_dataset(new_room, say):
    tally = Tally()

    @draws(short=25, whole=500)
    @given(st.sampled_from(KINDS), st.data())
    def holds(kind, data):
        with new_room() as room:
            root = room.root / "data"
            flags = data.draw(LAYOUTS[kind](root))
            flags = ["--data", str(root), *flags]
            if data.draw(st.integers(0, 2)) == 1:
                flags.append("--skip-bad-images")
            checked = keep(check_data, [*flags, "--n-queries", "1"], room, [])
            workers = data.draw(st.sampled_from(("0", "0", "0", "0", "2")))
            run = [*QUICK, *flags, "-j", workers, "--val-episodes", "2", "--output-dir", "out"]
            trained = keep(train, run, room, ["out"])
            tally.add(checked)
            tally.add(trained)

    holds()
    say(tally.line("passes over datasets, two each"))
