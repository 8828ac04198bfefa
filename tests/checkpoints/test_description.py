"""What `ancor inspect` says of files of runs."""

import pytest

from ancor.checkpoints.description import describe
from ancor.cli.train import main
from tests.conftest import SMALL


def test_a_run_of_a_librarys_backbone_is_described(tmp_path):
    """Its names are none of ours, but the file tells what it is."""
    pytest.importorskip("timm")
    words = ["-a", "timm:test_resnet", "--max-steps", "1", "--val-episodes", "0"]
    assert main([*SMALL, *words, "--output-dir", str(tmp_path)]) == 0
    report = describe(tmp_path / "model_best.pth.tar")
    assert (report["arch"], report["head"], report["ours"]) == ("timm:test_resnet", "seq", True)
    assert report["missing"] == report["unexpected"] == []
    assert report["dataset"] == "digits"
