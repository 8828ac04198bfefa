"""Every benchmark runs at its smallest, as its page's command does, and prints figures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ancor.cli import embed
from ancor.data.datasets.fashion_mnist import DEBIAN
from tests import made

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
# Those of a test file of their own, the runner of experiments and what benchmarks are made of.
ELSEWHERE = {"ablation", "peers", "readme_table", "scaling", "studies", "peer_work", "turns"}
STEP = "--arch conv4 --precision fp32 --queue-k 64 --rounds 1"
COMMANDS = [
    "alternatives.py --model-path MODEL --partition test --episodes 2 --rows Proto Ridge",
    "batch_norm.py MODEL stilled.pth.tar",
    "digits.py --seeds 0",
    "discovery.py --model-path MODEL --algorithms kmeans",
    "evaluation.py --arch conv4 --episodes 20 --views 5 --loop-small 1 --loop-large 1",
    "evaluation.py --classifier-only",
    "evaluation.py --ridge --features FEATURES",
    "fewshot.py --speed",
    "fewshot.py --model-path MODEL --draws 1",
    "folder.py --images 2000",
    "index.py --images 5000 --episodes 10 --all-way 2",
    "labeling.py --model-path MODEL --dataset folder --data FOLDER --image-size 16 --draws 1",
    "loader.py --images 8 --rounds 1",
    "retrieval.py --images 500 --width 16 --classes 20",
    "start.py --rounds 1",
    "unknown.py --model-path MODEL --draws 2",
    f"training.py step {STEP}",
    f"training.py queue {STEP}",
    f"training.py processes {STEP}",
    f"training.py compile {STEP}",
    f"training.py recompute {STEP}",
    f"training.py frozen {STEP}",
    f"training.py features {STEP}",
    f"training.py epoch {STEP}",
    f"training.py methods {STEP}",
]


def test_every_benchmark_is_run():
    files = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert files - ELSEWHERE == {command.split(".py")[0] for command in COMMANDS}


@pytest.fixture(scope="module")
def files(quick_run, tmp_path_factory):
    """The files that commands name in capitals."""
    model, features = quick_run / "model_best.pth.tar", tmp_path_factory.mktemp("f") / "digits.npz"
    assert embed.main(["--model-path", str(model), "--output", str(features)]) == 0
    folder, names = tmp_path_factory.mktemp("images"), [f"{n}.png" for n in range(30)]
    for part in ("train", "test"):
        for number, name in enumerate(names):
            made.write(folder / part / "coarse" / "abc"[number % 3] / name, number)
    return {"MODEL": model, "FEATURES": features, "FOLDER": folder}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_runs(command, files, tmp_path):
    if command.startswith("fewshot.py --model") and not DEBIAN.exists():
        pytest.skip("Fashion-MNIST is not installed here")
    file, *flags = command.split()
    flags = [files.get(flag, flag) for flag in flags]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / file, *flags], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout) or (tmp_path / "stilled.pth.tar").exists()
