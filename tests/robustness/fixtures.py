"""What stands on the shelf: whole and broken data, models and runs for commands to be given."""

import os
from pathlib import Path

from tests.made import cifar100, picture, tiered, write

QUICK = ["--mode", "coarse", "-b", "16", "--val-episodes", "0", "--max-steps", "1", "-j", "0"]
QUICK += ["--queue-k", "8", "--cst-dim", "8", "--precision", "fp32", "--arch", "conv4"]
ODD_NAMES = ("new\nline", "tab\tand \u2028 more", "ünïcode ☃ \U0001f41f", "'quote\" & <b>")


def fill(shelf: Path) -> None:
    """Put everything there."""
    _data(shelf / "data")
    _files(shelf / "files")
    _models(shelf / "models", shelf / "data")


def _data(data: Path) -> None:
    for part, images in (("train", 6), ("val", 3), ("test", 3)):
        for coarse in ("birds", *ODD_NAMES[:1]):
            for fine in ("a", "b") if part != "train" else ("",):
                for number in range(images):
                    name = f"{coarse[:3]}{fine}{number}.png"
                    write(data / "folder" / part / coarse / fine / name, number, (16, 16))
    lines = ["path,coarse,fine,partition"]
    for number in range(12):
        name = f"{ODD_NAMES[2]} {number}.jpg"
        write(data / "table" / name, number, (16, 12))
        lines.append(f"{name},c{number % 2},f{number % 4},{'train' if number < 8 else 'val'}")
    (data / "table" / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    cifar100(data / "cifar", images=1)
    tiered(data / "tiered", images=5)
    (data / "empty").mkdir()


def _files(files: Path) -> None:
    files.mkdir()
    (files / "empty").write_bytes(b"")
    (files / "text.txt").write_text("no weights here\n")
    (files / "noise.pth.tar").write_bytes(bytes(range(256)) * 20)
    (files / "list.json").write_text("[1, 2]")
    (files / "config.json").write_text('{"encoder": {"dim": "x"}, "training": [], "data": null}')
    picture(1, (20, 30)).save(files / f"{ODD_NAMES[0]}.png")
    picture(2, (1, 300)).save(files / "narrow.png")
    (files / "broken.png").write_bytes((files / "narrow.png").read_bytes()[:60])
    os.symlink(files / "nowhere", files / "link")
    os.symlink(files / "loop", files / "loop")


def _models(models: Path, data: Path) -> None:
    from ancor.cli.predict import main as predict
    from ancor.cli.train import main

    def train(name: str, *flags: str) -> Path:
        assert main([*QUICK, "--quiet", "--output-dir", str(models / name), *flags]) == 0
        return models / name / "model_best.pth.tar"

    whole = train("digits", "--dataset", "digits").read_bytes()
    train(
        ODD_NAMES[0],
        "--dataset",
        "digits",
        "--head",
        "cls",
        "--calc-types",
        "cls",
        "--loss-types",
        "ce",
    )
    train("folder", "--dataset", "folder", "--data", str(data / "folder"), "--image-size", "32")
    train("glyphs", "--dataset", "glyphs")
    (models / "cut.pth.tar").write_bytes(whole[: len(whole) // 2])
    changed = bytearray(whole)
    changed[len(whole) // 3] ^= 0xFF
    (models / "flipped.pth.tar").write_bytes(changed)

    line = ["--model-path", str(models / "digits" / "model_best.pth.tar"), "--image-size", "32"]
    line += ["--support", str(data / "folder" / "train"), "--save", str(models / "classes.ancor")]
    assert predict(line) == 0
