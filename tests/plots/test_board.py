"""What is written for TensorBoard is what TensorBoard reads."""

import numpy as np
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from ancor.plots.board import SIDE, add_figure, add_hparams, add_projector


def test_the_projector_has_features_both_levels_and_thumbnails(tmp_path):
    features = np.arange(12, dtype=np.float32).reshape(4, 3)
    images = [torch.full((3, 8, 10), 50 * n, dtype=torch.uint8) for n in range(4)]
    labels = {"fine": ["a\tb", "c", "", "d"], "coarse": ["x", "x", "y", "y"]}
    with SummaryWriter(str(tmp_path)) as writer:
        for _ in range(2):  # a second call replaces the first
            add_projector(writer, features, images, labels, step=7, tag="test")
    folder = tmp_path / "00007" / "test"
    rows = (folder / "metadata.tsv").read_text().splitlines()
    assert rows == ["fine\tcoarse", "a b\tx", "c\tx", "-\ty", "d\ty"]
    np.testing.assert_allclose(np.loadtxt(folder / "tensors.tsv"), features)
    sprite = np.asarray(Image.open(folder / "sprite.png"))
    assert sprite.shape == (2 * SIDE, 2 * SIDE, 3)
    assert [sprite[y, x, 0] for y in (5, SIDE + 5) for x in (5, SIDE + 5)] == [0, 50, 100, 150]
    assert "test/metadata.tsv" in (tmp_path / "projector_config.pbtxt").read_text()


def test_settings_and_scores_are_of_the_folders_own_run(tmp_path, capsys):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 2))
    figure.add_subplot().plot([1, 2], label="line")
    figure.legend(bbox_to_anchor=(2, 1))  # outside of the figure
    settings = {"lr": 0.1, "mlp": True, "losses": ["ce", "ce"], "split": None}
    with SummaryWriter(str(tmp_path)) as writer:
        add_hparams(writer, settings, {"5-way": 80.0})
        add_figure(writer, "t-SNE/coarse", figure, 3)
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"events"}
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Scalars("score/5-way")[0].value == 80.0
    image = events.Images("t-SNE/coarse")[0]
    assert (image.step, image.width > 200) == (3, True)
    about = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    assert b"losses" in about
    assert b"split" not in about
    assert capsys.readouterr().out == ""
