"""Sub-classes of a partition: numbers given or chosen, which images are shown, and what is told."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ancor.data.features import FeatureRows
from ancor.data.hierarchy import Hierarchy
from ancor.data.images import GrayImages
from ancor.data.partition import Partition
from ancor.evaluation.clustering import ALGORITHMS
from ancor.evaluation.discovery import check_images, discover
from ancor.evaluation.discovery_config import ALGORITHMS as NAMED
from ancor.evaluation.discovery_config import DiscoveryConfig
from ancor.models.config import EncoderConfig
from ancor.models.encoder import Encoder
from tests.refusals import refuses, tells

NAMES = ("ants", "bees=wasps")


class Bank:
    """Gives planted features in place of a network's, and its class weights."""

    def __init__(self, features: torch.Tensor, encoder: Encoder | None = None) -> None:
        self.rows, self.encoder, self.kind = features, encoder, "features"

    def test_features(self) -> torch.Tensor:
        return self.rows


def planted(each: int = 30, known: bool = True, width: int = 24) -> tuple[torch.Tensor, Partition]:
    """Ants of two kinds and bees of three, mixed, each kind around a center of its own."""
    draws = torch.Generator().manual_seed(0)
    fine = np.random.default_rng(0).permutation(np.repeat(np.arange(5), each))
    centers = 1 + torch.randn(5, width, generator=draws)
    features = centers[torch.from_numpy(fine)] + 0.4 * torch.randn(5 * each, width, generator=draws)
    hierarchy = Hierarchy(NAMES, tuple("pqrst"), (0, 0, 1, 1, 1))
    images = GrayImages(np.zeros((5 * each, 8, 8), dtype=np.uint8))
    partition = Partition.from_fine("made", "train", images, fine, hierarchy)
    if not known:
        hierarchy = Hierarchy(NAMES)
        partition = Partition("made", "train", images, partition.coarse_labels, None, hierarchy)
    return F.normalize(features, dim=1), partition


@pytest.mark.parametrize("algorithm", NAMED)
def test_planted_sub_classes_are_found_whatever_the_way(algorithm):
    features, partition = planted()
    found = discover(Bank(features), partition, DiscoveryConfig(algorithm))
    names = [each.name for each in found.subclasses]
    assert names == [f"ants/{n}" for n in (1, 2)] + [f"bees=wasps/{n}" for n in (1, 2, 3)]
    assert found.agreement().accuracy == 1
    assert tells("\n".join(found.lines()), "2 of 2", "0.00")
    assert found.chosen == {0, 1}


def test_the_algorithms_that_settings_name_are_those_there_are():
    assert tuple(ALGORITHMS) == NAMED


def test_every_image_is_in_one_sub_class_of_its_own_coarse_class():
    features, partition = planted()
    found = discover(Bank(features), partition, DiscoveryConfig(k=("4",)))
    everyone = np.concatenate([each.images for each in found.subclasses])
    assert sorted(everyone) == list(range(len(partition)))
    names = found.names()
    for each in found.subclasses:
        assert set(partition.coarse_labels[each.images]) == {each.coarse}
        assert {names[image] for image in each.images} == {each.name}
        assert sorted(each.doubtful) == sorted(each.images)
    assert len(found.subclasses) == 8
    assert found.chosen == frozenset()
    assert not tells("\n".join(found.lines()), "chosen")


def test_the_nearest_and_the_doubtful_are_those_by_the_cosine():
    features, partition = planted()
    found = discover(Bank(features), partition, DiscoveryConfig(k=("2", "bees=wasps=3")))
    bees = [each for each in found.subclasses if each.coarse == 1]
    assert len(bees) == 3
    means = torch.stack([F.normalize(features[each.images].mean(0), dim=0) for each in bees])
    for number, each in enumerate(bees):
        cosines = features[each.images] @ means.T
        own = cosines[:, number].numpy()
        assert (np.diff(own) <= 1e-6).all()
        cosines = (features[each.doubtful] @ means.T).numpy()
        others = np.delete(cosines, number, axis=1).max(1)
        assert (np.diff(cosines[:, number] - others) >= -1e-6).all()


def test_alone_in_its_coarse_class_the_farthest_is_doubtful():
    features, partition = planted()
    found = discover(Bank(features), partition, DiscoveryConfig(k=("1",)))
    for each in found.subclasses:
        assert each.doubtful.tolist() == each.images[::-1].tolist()


def test_fine_labels_are_not_looked_at():
    features, partition = planted()
    _, unknown = planted(known=False)
    one, two = (discover(Bank(features), each, DiscoveryConfig()) for each in (partition, unknown))
    assert one.names() == two.names()
    assert two.agreement() is None
    assert not tells("\n".join(two.lines()), "accuracy")


def test_more_sub_classes_than_images_are_told():
    features, partition = planted(each=2)
    found = discover(Bank(features), partition, DiscoveryConfig(k=("auto", "ants=9")))
    assert sum(each.coarse == 0 for each in found.subclasses) == 4
    assert tells("\n".join(found.notes), "ants", "9", "4")


def test_angles_are_around_the_means_where_there_are_no_weights():
    features, partition = planted()
    encoder = Encoder(EncoderConfig(arch="conv4", head="none"))
    found = discover(Bank(features, encoder), partition, DiscoveryConfig(angular=True))
    assert tells("\n".join(found.notes), "mean")
    assert found.agreement().accuracy == 1


def test_angles_are_around_the_class_weights():
    features, partition = planted(width=16)
    encoder = Encoder(EncoderConfig(arch="conv4", head="cls", num_classes=2))
    weight = encoder.class_weight.detach()
    wide = F.pad(features, (0, weight.shape[1] - features.shape[1]))
    found = discover(Bank(wide, encoder), partition, DiscoveryConfig(angular=True, k=("2",)))
    assert not tells("\n".join(found.notes), "mean")
    for each in found.subclasses:
        own = wide - F.normalize(weight[each.coarse], dim=0)
        angles = F.normalize(own, dim=1)[each.images]
        cosines = (angles @ F.normalize(angles.mean(0), dim=0)).numpy()
        assert (np.diff(cosines) <= 1e-5).all()  # nearest first, among the angles


@pytest.mark.parametrize("k", ["0", "-1", "two", "ants=", "ants=x", "1.5", "²"])
def test_numbers_that_are_none_are_refused(k):
    with refuses("`k`", repr(k)):
        DiscoveryConfig(k=(k,))


def test_two_numbers_for_all_and_unknown_coarse_classes_are_refused():
    with refuses("`k`", "2 3"):
        DiscoveryConfig(k=("2", "3"))
    with refuses("`k`", "2 ants=2 ants=3"):  # the last one was taken
        DiscoveryConfig(k=("2", "ants=2", "ants=3"))
    features, partition = planted()
    with refuses("`k`", "'ant'", "ants", "bees=wasps"):
        discover(Bank(features), partition, DiscoveryConfig(k=("ant=2",)))


def test_features_in_place_of_images_are_refused():
    _, partition = planted()
    rows = FeatureRows(torch.zeros(150, 1, 4), ["x"] * 150, "made.npz")
    shown = Partition("made", "train", rows, partition.coarse_labels, None, Hierarchy(NAMES))
    with refuses("made.npz", "`root`"):
        check_images(shown)
    check_images(partition)
