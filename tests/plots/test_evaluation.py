"""Plots of an evaluation: nothing hides a bar, axes and titles say what they are of."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from ancor.plots.captions import caption_of
from ancor.plots.evaluation import confusion_figure, histogram_figure
from ancor.plots.grid import grid, show
from ancor.plots.style import write


def test_no_bar_is_under_the_legend():
    """Wherever the bars are: the highest at either end, too."""
    for accuracies in ([0.2] * 50 + [0.9], [0.9] * 50 + [0.2], np.linspace(0.2, 0.9, 51)):
        scores = np.array(accuracies)
        figure = histogram_figure(scores, scores.mean(), 0.1, "digits, test", "m.pth.tar; LR")
        FigureCanvasAgg(figure).draw()
        (axes,) = figure.axes
        box = axes.get_legend().get_window_extent()
        assert not any(box.overlaps(bar.get_window_extent()) for bar in axes.patches)
        assert not box.overlaps(axes.title.get_window_extent())
        assert axes.get_title().splitlines() == ["digits, test", "m.pth.tar; LR"]


def test_a_confusion_matrix_names_its_axes_and_what_it_is_of():
    counts = np.array([[8, 2], [1, 9]])
    figure = confusion_figure(counts, ["a", "b"], ["c"], [0, 0], 0.5, "digits", "m; LR")
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    first, second, third = axes.get_title().splitlines()
    assert (first, second) == ("digits", "m; LR")
    assert "50.0%" in third


def test_a_caption_tells_models_features_and_classifier():
    paths = ["runs/a/model_best.pth.tar", "timm:resnet18=/home/me/w.pth"]
    caption = caption_of(paths, ["features", "features"], "LR")
    assert caption == "a/model_best.pth.tar + timm:resnet18; backbone features; LR"


def test_a_white_image_has_an_edge():
    figure, axes = grid(1, 2, side=2)
    for place in axes[0]:
        show(place, np.full((8, 8, 3), 255, np.uint8))
    file = io.BytesIO()
    write(figure, file, format="png", dpi=110)
    pixels = np.asarray(Image.open(file).convert("RGB"))
    row = pixels[len(pixels) // 2]
    assert (row.min(1) < 250).sum() >= 4  # two edges of each
