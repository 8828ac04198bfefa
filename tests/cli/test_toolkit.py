"""python -m ancor: its list of commands, check-data and inspect."""

import json
import shlex
import subprocess
import sys

import pytest

from ancor import __main__ as toolkit
from ancor.data.config import DataConfig
from ancor.methods.config import AncorConfig
from ancor.models.config import EncoderConfig
from ancor.runtime.settings import settings_of
from ancor.training.config import TrainConfig
from tests import made
from tests.checkpoints.test_state_dicts import paper_file
from tests.refusals import one_line, refused, tells


def test_alone_it_lists_its_commands(capsys):
    assert toolkit.main([]) == 2
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in toolkit.COMMANDS)
    assert toolkit.main(["--help"]) == 0
    refused(toolkit.main, ["evaluate"], capsys, "'evaluate'", "train, eval")


@pytest.mark.parametrize("name", toolkit.COMMANDS)
def test_help_is_quick_to_come(name):
    """That is, without importing torch, NumPy or what reads images."""
    script = (
        "import sys; from ancor.__main__ import main\n"
        "try: main([sys.argv[1], '--help'])\n"
        "finally: assert not {'torch', 'numpy', 'ancor.data.images'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "usage: " in result.stdout


def test_every_field_of_a_configuration_is_a_setting_with_help():
    for kind in (DataConfig, EncoderConfig, AncorConfig, TrainConfig):
        others = {"num_classes", "version"}  # which the data tells, and files
        fields = set(kind.__dataclass_fields__) - others
        found = settings_of(kind)
        assert set(found) == fields
        assert all(about.help for _, about in found.values())


def test_check_data_of_good_images(tmp_path, capsys):
    for number in range(34):
        made.write(tmp_path / "train" / f"c{number % 2}" / f"{number}.png", number)
        made.write(tmp_path / "val" / f"c{number % 2}" / f"f{number % 2}" / f"{number}.png", number)
    assert toolkit.main(["check-data", "--data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for words in (("train", "34", "2"), ("17 to 17",), ("width 12 to 12 px", "height 10 to 10 px")):
        assert tells(out, *words)
    assert tells(out, "'train'", "'validation'")  # which hold the same images


def test_check_data_of_images_that_would_stop_a_run(tmp_path, capsys):
    for number in range(4):
        made.write(tmp_path / "train" / f"c{number % 2}" / f"{number}.png", number)
        made.write(
            tmp_path / "test" / f"c{number % 2}" / f"f{number % 2}" / f"{number}.png", number
        )
    (tmp_path / "train" / "c0" / "0.png").write_bytes(b"")
    command = f"check-data --dataset folder --data {tmp_path} --json --equal-queries"
    assert toolkit.main(shlex.split(command)) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert len(report["problems"]) == 2
    one_line(err, "2")
    assert report["partitions"]["test"]["too_small"][0] == {"label": 0, "name": "f0", "images": 2}
    file = tmp_path / "report.json"
    command = f"check-data --data {tmp_path} --n-queries 1 --json {file}"
    assert toolkit.main(shlex.split(command)) == 1
    assert len(json.loads(file.read_text())["problems"]) == 1
    assert "problem: " in capsys.readouterr().out


def test_check_data_without_data(tmp_path, capsys):
    assert toolkit.main(["check-data", "--dataset", "living17"]) == 1
    assert tells(capsys.readouterr().out, "living17", "--data")
    refused(toolkit.main, ["check-data", "--dataset", "mnist"], capsys, "'mnist'", "aircraft")


def test_inspect(tmp_path, capsys):
    file = paper_file(tmp_path / "x.pth.tar", "resnet12/seq/multi/mlp")
    assert toolkit.main(["inspect", file]) == 0
    out = capsys.readouterr().out
    assert "resnet12, 12." in out
    assert "seq + mlp" in out
    assert toolkit.main(["inspect", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_classes"] == 17
    refused(toolkit.main, ["inspect", str(tmp_path / "y")], capsys, repr(str(tmp_path / "y")))
