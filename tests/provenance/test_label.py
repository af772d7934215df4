"""The visible label."""

import numpy as np
import pytest

from tests.clips import portrait
from vivface.errors import OptionError
from vivface.provenance import Provenance, Stamp, add_label
from vivface.provenance.label import LONGEST


@pytest.mark.parametrize("size", [(512, 512), (128, 96), (40, 30), (1200, 300)])
def test_it_is_written_into_the_lower_left_corner(size):
    image = np.full((size[1], size[0], 3), 150, np.uint8)
    labelled = add_label(image)
    rows, columns = np.nonzero((labelled != image).any(2))
    assert rows.min() >= size[1] // 3 and columns.min() <= size[0] // 10
    assert labelled.max() > 180 and labelled.min() < 80  # white on dark
    assert (image == 150).all()


def test_other_words_look_different():
    assert not np.array_equal(add_label(portrait(), "KI-generiert"), add_label(portrait(), "synthétique"))


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "x" * (LONGEST + 1), "生成"])
def test_what_cannot_be_written_is_refused_at_once(text):
    with pytest.raises(OptionError, match="label"):
        Provenance(label=text or " ")


def test_the_stamp_writes_it():
    plain = Stamp(Provenance(mark=False), 1).picture(portrait())
    assert np.array_equal(plain, portrait())
    assert np.array_equal(Stamp(Provenance(mark=False, label=True), 1).picture(portrait()), add_label(portrait()))
