"""Error correction of the mark's number."""

import numpy as np
import pytest

from vivface.provenance.code import CODED_BITS, decode, encode

NUMBERS = (0, 1, 0xDEADBEEF, 2**32 - 1)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_was_encoded_is_decoded(number):
    signs = encode(number)
    assert signs.shape == (CODED_BITS,) and set(signs) == {-1.0, 1.0}
    assert decode(signs) == number


def test_an_eighth_of_the_signs_may_be_wrong():
    random = np.random.RandomState(0)
    for number in NUMBERS:
        wrong = random.permutation(CODED_BITS)[: CODED_BITS // 8]
        signs = encode(number)
        signs[wrong] *= -1
        assert decode(signs) == number


def test_soft_signs_help():
    """Unsure signs that are wrong weigh less than sure ones that are right."""
    signs = encode(77)
    signs[::3] *= -0.2
    assert decode(signs) == 77


def test_noise_is_refused():
    random = np.random.RandomState(1)
    assert [decode(random.randn(CODED_BITS)) for _ in range(60)] == [None] * 60


def test_numbers_out_of_range():
    for number in (-1, 2**32):
        with pytest.raises(ValueError, match="identifier"):
            encode(number)
