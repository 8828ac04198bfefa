"""Make the files of one version of the toolkit that later versions are tested on.

    git archive COMMIT | tar -x -C CHECKOUT
    python tests/checkpoints/old_files/make.py CHECKOUT tests/checkpoints/old_files/NAME.tar.xz

runs the commands of the checkout. `README.md` beside this file says what is in an archive and which
versions made those that are here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import torch

ALIVE = (
    8  # channels of each layer of 64 that are not zero, and stay zero: the rest packs to nothing
)
TRAIN = ["--dataset", "digits", "--mode", "coarse", "--arch", "conv4", "--cst-dim", "16"]
TRAIN += ["--queue-k", "32", "-b", "64", "--val-episodes", "20", "--lr", "0.1", "--quiet"]
TRAIN += ["--precision", "fp32", "--device", "cpu", "--keep-epochs"]
EVAL = ["--partition", "test", "--n-shots", "1", "5", "--n-test-runs", "40", "--device", "cpu"]
PREDICT = ["--query", "query", "--device", "cpu"]
CODE, RUN, BEST = "toolkit", "run", "run/model_best.pth.tar"
LEFT_OUT = (CODE, "first", "resumed", "learned.json")


class Checkout:
    """Runs the commands of a version in an empty folder."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        (folder / CODE).symlink_to(root.resolve())  # commands are recorded with the script's path
        # One thread, and no graphics card: sums in the order in which tests take them.
        path = {"PYTHONPATH": CODE, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.environment = {**os.environ, **path}

    def run(self, script: str, *flags: str) -> None:
        """Run a script; a CalledProcessError where it fails."""
        command = [sys.executable, f"{CODE}/{script}", *flags]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True)

    def ancor(self, *words: str) -> None:
        """Run `python -m ancor`."""
        command = [sys.executable, "-m", "ancor", *words]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True)


def thin(source: Path, target: Path) -> None:
    """Write a run's backbone with all but `ALIVE` channels of each layer at zero.

    A channel whose batch norm scales and shifts by zero gets no gradient, and gives none.
    """
    state = torch.load(source, weights_only=True)["state_dict"]
    first = "module.encoder_q."
    inside = {n.removeprefix(first): t for n, t in state.items() if n.startswith(first)}
    kept = {n: t for n, t in inside.items() if not n.startswith("fc.")}
    for name, tensor in kept.items():
        if name.endswith(("weight", "bias")):
            tensor[ALIVE:] = 0
            if tensor.ndim == 4:
                tensor[:, ALIVE:] = 0
    torch.save({"state_dict": kept}, target)


def make(checkout: Checkout) -> None:
    """Write all files into the checkout's folder."""
    folder = checkout.folder
    checkout.run("train.py", *TRAIN, "--max-steps", "1", "--epochs", "1", "--output-dir", "first")
    thin(folder / "first" / "last.pth.tar", folder / "thin.pth.tar")
    start = ["--init-from", "thin.pth.tar", "--epochs", "3"]
    checkout.run("train.py", *TRAIN, *start, "--output-dir", RUN)
    shutil.copytree(folder / RUN, folder / "resumed")
    going_on = [*start[:-1], "4", "--output-dir", "resumed", "--resume", "auto"]
    checkout.run("train.py", *TRAIN, *going_on)
    shutil.copyfile(folder / "resumed" / "metrics.jsonl", folder / "resumed.jsonl")
    checkout.run("eval.py", "--model-path", BEST, *EVAL, "--json", "evaluation.json")
    images = ["--shots", "2", "--queries", "2", "--output-dir", "."]
    checkout.run("tools/write_images.py", "--dataset", "digits", *images)
    save = ["--support", "support", "--save", "classifier.ancor", "--json", "learned.json"]
    checkout.ancor("predict", "--model-path", BEST, *save, *PREDICT)
    recorded = ["--classifier", "classifier.ancor", "--json", "predictions.json"]
    checkout.ancor("predict", *recorded, *PREDICT)
    checkout.ancor(
        "export", "--model-path", BEST, "--to", "safetensors", "--output", "e.safetensors"
    )


def pack(folder: Path, target: Path) -> None:
    """Write what tests need as a .tar.xz, without names of this machine's users."""

    def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(target, "w:xz", preset=9) as archive:
        for name in sorted(path.name for path in folder.iterdir() if path.name not in LEFT_OUT):
            archive.add(folder / name, name, filter=anonymous)


def main() -> None:
    """Make the files of one version."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path, help="folder of the version's files")
    parser.add_argument("archive", type=Path, help="the .tar.xz to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Checkout(args.checkout, Path(folder)))
        pack(Path(folder), args.archive)


if __name__ == "__main__":
    main()
