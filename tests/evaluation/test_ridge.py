"""Ridge regression: scikit-learn's at the same alpha, and left out as by leaving out."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge, RidgeClassifier
from torch.nn import functional as F

from ancor.evaluation import ridge
from ancor.evaluation.episode_batch import EpisodeBatch

E, WAYS, SHOTS, QUERIES = 3, 4, 3, 7


def vectors_of(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def fit(vectors, labels, weights, alpha):
    problem = ridge.Problem.of(vectors, labels, weights, WAYS)
    return problem.fit(torch.full((E,), alpha, dtype=torch.float64))


def labels_of(shots=SHOTS):
    return torch.arange(WAYS).repeat_interleave(shots).expand(E, -1)


@pytest.mark.parametrize("width", [5, 40], ids=["fewer features than images", "more"])
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 100.0])
def test_a_fit_is_scikit_learns(width, alpha):
    support, labels = vectors_of(E, WAYS * SHOTS, width), labels_of()
    query = vectors_of(E, QUERIES, width, seed=1)
    weights = 0.5 + torch.rand(E, WAYS * SHOTS, dtype=torch.float64)
    fitted = fit(support, labels, weights, alpha)
    values = torch.baddbmm(fitted.bias, query, fitted.weight)
    support, labels, query, weights = (each.numpy() for each in (support, labels, query, weights))
    for e in range(E):
        theirs = Ridge(alpha=alpha, solver="cholesky")
        theirs.fit(support[e], np.eye(WAYS)[labels[e]], sample_weight=weights[e])
        np.testing.assert_allclose(fitted.weight[e].T, theirs.coef_, atol=1e-9)
        np.testing.assert_allclose(values[e], theirs.predict(query[e]), atol=1e-9)
        named = RidgeClassifier(alpha=alpha).fit(support[e], labels[e], sample_weight=weights[e])
        np.testing.assert_array_equal(values[e].argmax(1), named.predict(query[e]))


@pytest.mark.parametrize("width", [5, 40])
def test_left_out_errors_are_those_of_fits_to_the_others(width):
    support, labels = vectors_of(E, WAYS * SHOTS, width), labels_of()
    weights = 0.5 + torch.rand(E, WAYS * SHOTS, dtype=torch.float64)
    problem = ridge.Problem.of(support, labels, weights, WAYS)
    found = torch.stack(list(problem.left_out_errors())).mT
    assert found.shape == (len(ridge.GRID), E, WAYS * SHOTS, WAYS)
    targets, root = F.one_hot(labels, WAYS), weights.sqrt()[..., None]
    for g, alpha in enumerate(ridge.GRID):
        for out in range(WAYS * SHOTS):
            kept = torch.arange(WAYS * SHOTS) != out
            others = support[:, kept], labels[:, kept], weights[:, kept]
            fitted = fit(*others, alpha)
            values = fitted.bias[:, 0] + (support[:, out, None] @ fitted.weight)[:, 0]
            errors = root[:, out] * (targets[:, out] - values)
            torch.testing.assert_close(found[g, :, out], errors, atol=1e-9, rtol=0)


def episodes(width=20, shots=SHOTS, copies=1, noise=0.0):
    """Images, each there as `copies` views that differ by `noise`, the views one after another."""
    images = vectors_of(E, WAYS * shots, width)
    views = images.repeat(1, copies, 1)
    views = views + noise * vectors_of(*views.shape, seed=2)
    numbers = torch.arange(WAYS * shots)
    return EpisodeBatch(
        views,
        labels_of(shots).repeat(1, copies),
        torch.arange(views.shape[1]).expand(E, -1),
        vectors_of(E, QUERIES, width, seed=3),
        WAYS,
        images=numbers.repeat(copies).expand(E, -1),
    )


def test_copies_of_an_image_change_nothing():
    """Left in beside the image that is left out, they would vouch for the least alpha."""
    once, copied = episodes(), episodes(copies=5)
    alphas = [ridge.choose_alpha(batch) for batch in (once, copied)]
    torch.testing.assert_close(*alphas)
    torch.testing.assert_close(ridge.ridge(copied), ridge.ridge(once), atol=1e-9, rtol=0)
    leaking = copied._replace(images=None)
    assert (ridge.choose_alpha(leaking) < alphas[0]).all()


def test_a_view_that_is_there_twice_is_fitted_once_and_counts_twice():
    listed = episodes(copies=3, noise=0.3)
    once = WAYS * SHOTS  # the first views, listed again at the end
    twice = [torch.cat([each, each[:, :once]], dim=1) for each in listed[:2]]
    images = torch.cat([listed.images, listed.images[:, :once]], dim=1)
    new = torch.arange(once * 4).expand(E, -1)
    known = torch.cat([listed.ids, listed.ids[:, :once]], dim=1)
    fits = [
        ridge.ridge(listed._replace(support=twice[0], labels=twice[1], ids=ids, images=images))
        for ids in (new, known)
    ]
    torch.testing.assert_close(*fits, atol=1e-9, rtol=0)
    assert (fits[0] - ridge.ridge(listed)).abs().max() > 1e-3


def test_the_chosen_alpha_has_the_least_error_of_left_out_images():
    batch = episodes(copies=3, noise=0.3)
    images = batch.by_image()
    chosen = ridge.choose_alpha(batch)
    for e in range(E):
        errors = []
        for alpha in ridge.GRID:
            error = 0
            for out in range(WAYS * SHOTS):
                theirs = Ridge(alpha=alpha)
                kept = np.arange(WAYS * SHOTS) != out
                targets = np.eye(WAYS)[images.labels[e]]
                theirs.fit(images.means[e][kept], targets[kept])
                error += np.square(theirs.predict(images.means[e, out][None]) - targets[out]).sum()
            errors.append(error)
        assert chosen[e] == ridge.GRID[int(np.argmin(errors))]


def test_of_one_image_a_class_alpha_is_not_chosen():
    batch = episodes(shots=1, copies=4, noise=0.2)
    assert (ridge.choose_alpha(batch) == ridge.ONE_IMAGE).all()


def test_padding_is_as_if_it_were_not_there():
    batch = episodes(copies=2, noise=0.1)
    padded = batch._replace(
        support=F.pad(batch.support, (0, 0, 0, 3), value=9.0),
        labels=F.pad(batch.labels, (0, 3)),
        ids=F.pad(batch.ids, (0, 3), value=-1),
        images=F.pad(batch.images, (0, 3)),
    )
    torch.testing.assert_close(ridge.ridge(padded), ridge.ridge(batch), atol=1e-9, rtol=0)
