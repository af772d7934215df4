"""Checks of what a pipeline is given."""

from fractions import Fraction

import numpy as np

from vivface.errors import MediaError, OptionError


def codes_in_words(shape: tuple[int, ...]) -> str:
    """What codes of a shape are, for messages."""
    if len(shape) == 1:
        return f"motion codes of {shape[0]} numbers"
    if len(shape) > 2:
        return f"motion maps of {' x '.join(map(str, shape))} numbers"
    return f"{shape[0]} motion codes of {shape[1]} numbers"


def check_origin(name: str, shapes: tuple[tuple, tuple], fingerprints: tuple[list[float], list[float]]) -> None:
    """Refuse codes that the encoder of another checkpoint made.

    Args:
        name (`str`): Of the file, or "the ...", for messages.
        shapes (pair of `tuple`), fingerprints (pair of `list`): Of the codes, and what the checkpoint takes.

    Raises:
        MediaError: If they differ.
    """
    quoted = name if name.startswith("the ") else f"'{name}'"
    if shapes[0] != shapes[1]:
        raise MediaError(
            f"{quoted} holds {codes_in_words(shapes[0])}, this checkpoint takes {codes_in_words(shapes[1])}: "
            "extract them with this checkpoint."
        )
    theirs, ours = (np.array(fingerprint) for fingerprint in fingerprints)
    if ours.shape != theirs.shape or not np.abs(ours - theirs).max() <= 1e-2 * np.abs(ours).max():
        raise MediaError(f"{quoted} was made by the encoder of another checkpoint: extract it with this one.")


def as_seconds(name: str, value: float | Fraction) -> Fraction:
    """Seconds as they were meant: 0.2 is a fifth, not the float next to it."""
    try:
        return Fraction(value).limit_denominator(1_000_000)
    except (ValueError, TypeError, OverflowError) as error:  # no number, NaN, infinity
        raise OptionError(f"`{name}` is {value!r}; expected a number of seconds.") from error


def check_counts(**values: int | None) -> None:
    """Refuse what is no whole number of 0 or more.

    Raises:
        OptionError: If a value is neither that nor None.
    """
    for name, value in values.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise OptionError(f"`{name}` is {value!r}; expected a whole number, 0 or more.")
