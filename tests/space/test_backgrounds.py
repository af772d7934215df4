"""The background as the page offers it."""

import pytest

from vivface.errors import OptionError
from vivface.space.options import Options


def test_shown_where_the_photograph_moves():
    assert Options(background="white").shown_background(offered=True) == "white"
    assert Options(background="white").shown_background(offered=False) == "keep"
    assert Options(background="white", paste_back=True).shown_background(offered=True) == "keep"
    assert Options(background="white", detail=False).shown_background(offered=True) == "keep"


def test_only_what_is_offered():
    with pytest.raises(OptionError, match="background"):
        Options(background="/etc/passwd")
