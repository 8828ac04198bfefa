"""Episodes against those of the paper's own code."""

import numpy as np
import pytest

from ancor.data.episodes import EpisodeSampler, Protocol
from tests.golden_files import arrays

NAMES = sorted({"/".join(k.split("/")[:3]) for k in arrays("episodes") if k.count("/") == 5 - 1})
LABELS = {
    "breeds": ("labels_sorted", "coarse_of_fine"),
    "breeds_wnid": ("labels_wnid_order", "coarse_of_fine"),
    "cifar100": ("cifar/labels", "cifar/coarse_of_fine"),
    "tiered": ("cifar/labels", "cifar/coarse_of_fine"),
}


def ways(family: str, mode: str) -> int:
    if mode == "allway":
        return 30 if family == "cifar100" else 1000
    return {"5way": 5, "3way": 3, "allway1000": 1000, "fg": 5}[mode]


@pytest.mark.parametrize("name", NAMES)
def test_golden_episodes(name):
    golden = arrays("episodes")
    family, mode, shots = name.split("/")
    labels, coarse_of_fine = (golden[key] for key in LABELS[family])
    sampler = EpisodeSampler(labels, coarse_of_fine[labels], rules=family.removesuffix("_wnid"))
    protocol = Protocol(
        ways(family, mode), n_shots=int(shots.removesuffix("shot")), intra_class=mode == "fg"
    )
    for number in range(8):
        episode = sampler.draw(protocol, number)
        for field, array in (
            ("support", episode.support),
            ("support_y", episode.support_labels),
            ("query", episode.query),
            ("query_y", episode.query_labels),
        ):
            assert np.array_equal(array, golden[f"{name}/{number}/{field}"]), (number, field)


def test_golden_episodes_cover_every_rule():
    assert {name.split("/")[0] for name in NAMES} == set(LABELS)
