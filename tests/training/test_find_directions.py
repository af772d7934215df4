"""Directions are found where data were made with known ones."""

import numpy as np

from training.tools.find_directions import (
    ATTRIBUTES,
    EXPRESSIONS,
    POSE,
    attribute_directions,
    expression_directions,
    regress,
)


def centred(array: np.ndarray) -> np.ndarray:
    return array - array.mean(0)


def test_regression_recovers_coefficients():
    rng = np.random.default_rng(0)
    labels, truth = centred(rng.normal(size=(500, 4))), rng.normal(size=(4, 7))
    labels[:, 1] += 0.8 * labels[:, 0]  # correlated labels are told apart
    coefficients, explained = regress(labels, labels @ truth + centred(0.05 * rng.normal(size=(500, 7))), ridge=1e-4)
    np.testing.assert_allclose(coefficients, truth, atol=0.02)
    assert explained > 0.98


def test_expressions_add_up_their_controls():
    controls = sorted({name for _, amounts, _ in EXPRESSIONS.values() for name in amounts} - set(POSE))
    names = (*controls, *POSE)
    rng = np.random.default_rng(1)
    labels, truth = centred(rng.normal(size=(400, len(names)))), rng.normal(size=(len(names), 10 * 6))
    found = {d.name: d for d in expression_directions((labels @ truth).reshape(400, 10, 6), labels, names)}
    assert set(found) == set(EXPRESSIONS)
    expected = 0.7 * (truth[names.index("smile_left")] + truth[names.index("smile_right")])
    np.testing.assert_allclose(found["smile"].vector.numpy().ravel(), expected, atol=0.05)


def test_attributes_and_the_variation_that_is_left():
    rng = np.random.default_rng(2)
    attributes = rng.normal(size=(1000, len(ATTRIBUTES)))
    binary = [attribute.binary for attribute in ATTRIBUTES.values()]
    attributes[:, binary] = attributes[:, binary] > 0.5
    truth, hidden = rng.normal(size=(len(ATTRIBUTES), 4 * 8)), rng.normal(size=4 * 8)
    codes = attributes @ truth + 3 * rng.normal(size=(1000, 1)) * hidden
    found = {d.name: d for d in attribute_directions(codes.reshape(1000, 4, 8), attributes, variations=1)}
    assert set(found) == {*ATTRIBUTES, "variation_1"}

    def cosine(a, b):
        return abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)

    assert cosine(found["variation_1"].vector.numpy().ravel(), hidden) > 0.99
    glasses = found["glasses"].vector.numpy().ravel()
    without = truth[list(ATTRIBUTES).index("glasses")]
    residual = glasses - (glasses @ hidden) / (hidden @ hidden) * hidden  # chance correlation with what is hidden
    assert cosine(residual, without - (without @ hidden) / (hidden @ hidden) * hidden) > 0.98
