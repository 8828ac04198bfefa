"""A stranger's path: a wheel, photographs of known kinds, and by some clicks their products."""

import csv
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tests.environments import Environment, release, with_requirements
from tests.fewshot.app.driving import CHROMIUM, drive, name_by_clicks, served
from tests.photographs import lay_out_kinds, lay_out_products, product_of
from tests.pretrained import WEIGHTS
from tests.shared import needs_shared

pytest.importorskip("tornado")

KINDS = ("Milk", "Pear", "Yoghurt")
NAMES = {
    "Arla-Standard-Milk": "standard",
    "Arla-Medium-Fat-Milk": "medium",
    "Garant-Ecological-Standard-Milk": "eco",
}
MODEL = ["--arch", "timm:tf_efficientnet_lite0", "--pretrained", "lite0.pth"]
DATA = ["--data", "photos", "--feature-cache", "runs/features"]
FROZEN = [
    "--partition",
    "train",
    "--mode",
    "coarse",
    "--n-augmentations",
    "0",
    "--json",
    "runs/frozen.json",
]


class Stranger:
    """Somebody with an environment and a folder of their own; prints how long each step takes."""

    def __init__(self, folder: Path) -> None:
        self.environment = Environment(folder / "fresh")
        self.home = folder / "home"
        self.home.mkdir()
        self.start = self.last = time.monotonic()

    def install(self, wheel: Path) -> None:
        """Install a wheel with its extras, all from the index but torch, of several GB."""
        probe = self.environment.pip("--dry-run", "--no-deps", "starlette")
        if probe.returncode:
            pytest.skip(f"pip reaches no index: {probe.stderr.strip().splitlines()[-1]}")
        self.environment.link(with_requirements("torch") | {"torchvision"})
        installed = self.environment.pip(f"{wheel}[app,timm]")
        assert installed.returncode == 0, installed.stderr
        self.took("install")

    def ancor(self, *words: str) -> str:
        """Run the command, which has to end well and say nothing on stderr."""
        command = [self.environment.programs / "ancor", *words]
        how = {"cwd": self.home, "env": self.environment.variables()}
        ended = subprocess.run(command, capture_output=True, text=True, **how)
        assert (ended.returncode, ended.stderr) == (0, ""), (words, ended.stderr)
        self.took(words[0])
        return ended.stdout

    def took(self, what: str) -> None:
        now = time.monotonic()
        print(f"{now - self.last:4.0f} s  {what}")
        self.last = now


@pytest.fixture
def stranger(tmp_path) -> Iterator[Stranger]:
    """A stranger, whose environment is removed afterwards: it takes a gigabyte."""
    yield (made := Stranger(tmp_path))
    shutil.rmtree(made.environment.programs.parent)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@needs_shared("grocery")
def test_from_a_wheel_to_answers_by_fifteen_clicks(stranger, tmp_path):
    """What README, docs/own-images.md and docs/app.md say, outside of a clone."""
    stranger.install(release(tmp_path / "source")[1])
    home = stranger.home
    count = lay_out_kinds(home / "photos" / "train", KINDS)
    asked = lay_out_products(home / "queries", NAMES)
    assert (count, asked) == (479, 75)
    shutil.copyfile(WEIGHTS, home / "lite0.pth")

    stranger.ancor("check-data", "--dataset", "folder", "--data", "photos")
    stranger.ancor("eval", *MODEL, *DATA, *FROZEN, "--json", "runs/frozen.json")
    frozen = json.loads((home / "runs/frozen.json").read_text())["results"]
    assert min(each["accuracy"] for each in frozen) > 100 / len(KINDS) + 15

    stranger.ancor("discover", *MODEL, *DATA, "--output", "runs/found")
    with open(home / "runs/found/labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    agreement = [
        adjusted_rand_score(*zip(*[(product_of(r["path"]), r["fine"]) for r in own], strict=True))
        for own in ([row for row in rows if row["coarse"] == kind] for kind in KINDS)
    ]
    assert np.mean(agreement) > 0.15  # 0: by chance

    command = [str(stranger.environment.programs / "ancor"), "app", *MODEL, *DATA]
    how = {"cwd": home, "env": stranger.environment.variables()}
    with served([*command, "--output", "runs/labels"], **how) as address:
        drive(address, tmp_path / "profile", lambda s: name_by_clicks(s, "Milk", NAMES, 5))
    stranger.took("app: three classes by five clicks each")

    saved = ["--saved", "runs/labels/classifier.ancor"]
    answers = json.loads(stranger.ancor("predict", *saved, "--query", "queries", "--json"))
    right = [Path(a["path"]).parent.name == a["nearest"] for a in answers["predictions"]]
    assert len(right) == asked
    assert np.mean(right) > 1 / len(NAMES) + 0.25
    print(f"{stranger.last - stranger.start:4.0f} s  in all; {np.mean(right):.2f} right of {asked}")
