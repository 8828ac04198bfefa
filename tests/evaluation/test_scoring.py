"""The bank and the batched classifiers against a plain loop over the same episodes and views."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from ancor.data.config import DataConfig
from ancor.data.episodes import EpisodeSampler, Protocol
from ancor.data.images import ColorImages
from ancor.data.partition import Partition
from ancor.data.transform_spec import TransformSpec
from ancor.data.transforms import normalize, query_transform, support_transform
from ancor.data.views import QUERY_VIEW, EvaluationViews
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.models import Model
from ancor.evaluation.plan import plan_evaluations, support_views
from ancor.evaluation.predictors import single
from ancor.evaluation.run import Evaluation
from ancor.evaluation.scoring import score
from ancor.models.config import BARE, EncoderConfig
from ancor.models.encoder import Encoder
from ancor.runtime.devices import Runtime

EPISODES = 6
PROTOCOLS = [Protocol(5), Protocol(1000)]
CPU = torch.device("cpu")


def encode(encoder: Encoder, config: DataConfig, images, drawn) -> np.ndarray:
    """Pass an episode's own pictures, and nothing else, through the network."""
    spec, partition = config.transforms, config.load("test")
    pairs = np.stack([images, drawn], axis=1)
    views = EvaluationViews(
        partition.images, pairs, query_transform(spec), support_transform(spec), seed=0
    )
    batch = torch.stack([views[position] for position in range(len(pairs))])
    with torch.inference_mode():
        return F.normalize(encoder(normalize(batch, spec)).features, dim=1).double().numpy()


def test_fresh_views_give_the_accuracies_of_a_plain_loop_exactly():
    torch.manual_seed(0)
    config, encoder = DataConfig("digits"), Encoder(EncoderConfig("conv4", num_classes=3)).eval()
    partition = config.load("test")
    sampler = EpisodeSampler.of(partition, "fine")
    plan = plan_evaluations(sampler, PROTOCOLS, EPISODES, views=0)
    bank = FeatureBank(encoder, partition.images, config.transforms, Runtime(CPU))
    ours = [list(scored.accuracies) for scored in score(plan, [bank], single("LR"), quiet=True)]
    theirs = []
    for which, protocol in enumerate(PROTOCOLS):
        accuracies = []
        for number in range(EPISODES):
            episode = sampler.draw(protocol, number)
            drawn = support_views(episode, protocol, 0, which * EPISODES + number, 0)
            support = encode(encoder, config, episode.support, drawn)
            nothing = np.full_like(episode.query, QUERY_VIEW)
            query = encode(encoder, config, episode.query, nothing)
            model = LogisticRegression(tol=1e-10, max_iter=10_000)
            model.fit(support, episode.support_labels)
            accuracies.append(np.mean(model.predict(query) == episode.query_labels))
        theirs.append(accuracies)
    assert ours == theirs


def test_each_model_sees_the_views_of_its_own_transforms():
    """One is for images whose mirror images are others, and one is not; they are scored alike."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 10)
    shapes = rng.integers(0, 256, (6, 3, 16, 16))
    pixels = (shapes[labels] + rng.integers(0, 256, (60, 3, 16, 16))) // 2
    names = [f"class {label}" for label in labels]
    images = ColorImages(pixels.astype(np.uint8))
    partition = Partition.from_names("made", "test", images, ["all"] * 60, names)
    spec = TransformSpec(16, (0.5,) * 3, (0.25,) * 3, native_size=16, flip=False)
    one, other = (
        Model(Encoder(EncoderConfig("conv4", BARE)).eval(), each, Runtime(CPU, quiet=True))
        for each in (spec, replace(spec, flip=True))
    )
    config = EvaluationConfig(n_shots=(1,), n_queries=5, n_test_runs=40, classifier="Proto")

    def scores(models, baseline=None, combine="single"):
        evaluation = Evaluation(models, partition, config, combine, baseline)
        found = list(evaluation.results())
        # There is one coarse class, of which an answer always is.
        assert all(each.coarse is None and each.errors_in_coarse is None for each in found)
        ours = np.concatenate([result.scores for result in found])
        if baseline is None:
            return ours
        return ours, np.concatenate([result.baseline for result in found])

    alone = {False: scores([one]), True: scores([other])}
    assert np.array_equal(scores([one], other), [alone[False], alone[True]])
    assert np.array_equal(scores([other], one), [alone[True], alone[False]])
    for combine in ("ensemble", "concat"):
        both = [scores(models, combine=combine) for models in ([one, other], [other, one])]
        assert np.allclose(*both)


@pytest.mark.slow
def test_predictions_do_not_hang_on_the_batch_size():
    torch.manual_seed(0)
    config, encoder = DataConfig("digits"), Encoder(EncoderConfig("conv4", num_classes=3)).eval()
    partition = config.load("test")
    plan = plan_evaluations(EpisodeSampler.of(partition, "fine"), PROTOCOLS, 50)
    found = {}
    for size in (1, 64, 512):
        runtime = Runtime(CPU, batch_size=size)
        bank = FeatureBank(encoder, partition.images, config.transforms, runtime)
        scored = list(score(plan, [bank], single("LR"), quiet=True))
        found[size] = np.concatenate([p for one in scored for p in one.predictions])
    for size in (1, 64):
        assert np.mean(found[size] != found[512]) <= 1e-4
