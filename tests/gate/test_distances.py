"""Distances and classifiers, next to SciPy and scikit-learn."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from cxr_monai.gate.distance import Distance
from cxr_monai.gate.likeness import Likeness
from cxr_monai.gate.linear_head import LinearHead


def correlated(films: int, size: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(films, size)) @ random.normal(size=(size, size)) + random.normal(size=size)


def test_of_all_components_it_is_the_mahalanobis_distance() -> None:
    values, others = correlated(200, 6), correlated(20, 6, seed=1)
    mean, scale = values.mean(0), values.std(0)
    fitted = LedoitWolf().fit((values - mean) / scale)
    expected = [mahalanobis((film - mean) / scale, fitted.location_, fitted.precision_) for film in values]
    np.testing.assert_allclose(Distance.fit(values).of(values), expected, rtol=2e-3)
    clipped = np.clip((others - mean) / scale, -8, 8)
    np.testing.assert_allclose(Distance.fit(values).of(others), np.sqrt(fitted.mahalanobis(clipped)), rtol=2e-3)


def test_what_lies_outside_the_components_counts_in_units_of_its_noise() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate(
        [random.normal(0, 1, (4000, 1)) @ np.ones((1, 5)) + random.normal(0, 0.1, (4000, 5))], axis=0
    )
    distance = Distance.fit(values, components=1)
    scale = values.std(0)
    step = np.array([1, -1, 0, 0, 0]) * scale  # at right angles to the component
    squares = distance.of((values.mean(0) + step)[None]) ** 2
    assert squares[0] == pytest.approx(2 * float(distance.outside[0]), rel=0.02)
    assert 1 / distance.outside[0] == pytest.approx(0.01 / 1.01, rel=0.05)  # the noise's variance, standardised


def test_one_number_that_hardly_varies_does_not_outweigh_all() -> None:
    values = correlated(300, 8)
    values[:, 0] = np.random.default_rng(0).normal(0, 1e-5, 300)
    film = values[:1].copy()
    film[0, 0] = 1.0
    assert Distance.fit(values).of(film)[0] < 20


def test_with_many_films_the_classifier_is_linear_discriminant_analysis() -> None:
    values = np.concatenate(
        [
            correlated(4000, 4),
            correlated(4000, 4) + np.array([1, 0, 2, 0]),
            correlated(4000, 4) - np.array([0, 2, 0, 1]),
        ]
    )
    values += np.random.default_rng(2).normal(size=values.shape)
    classes = np.repeat([0, 1, 2], 4000)
    head = LinearHead.fit(values, classes, ("intact", "one", "other"))
    analysis = LinearDiscriminantAnalysis(solver="lsqr").fit(values, classes)
    ours, theirs = head.log_odds(values[::50].astype("f4")), analysis.decision_function(values[::50])
    ours, theirs = (scores - scores[:, :1] for scores in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=0.02)


def test_likeness_is_the_distance_to_each_kind() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(0, 3, (3, 40))
    classes = np.repeat([0, 1, 2], 500)
    values = centres[classes] + correlated(1500, 40)
    likeness, far = Likeness.fit(values, classes, ("intact", "one", "other"))
    standardised = np.clip((values - likeness.mean) / likeness.scale, -8, 8)
    components, noise = likeness.components.astype(float), float(likeness.noise[0])
    covariance = components @ np.diag(likeness.variances - noise) @ components.T + noise * np.eye(40)
    inverse = np.linalg.inv(covariance)
    expected = [[mahalanobis(film, centre, inverse) for centre in likeness.centres] for film in standardised[::100]]
    np.testing.assert_allclose(likeness.of(values[::100]), expected, rtol=5e-3)
    for kind in range(3):
        share = (likeness.of(values[classes == kind])[:, kind] <= likeness.limits[kind]).mean()
        assert share == pytest.approx(0.99, abs=0.01)
    assert (likeness.of(values).min(1) <= far).mean() == pytest.approx(0.99, abs=0.01)
    assert (likeness.of(values).argmin(1) == classes).mean() > 0.9
