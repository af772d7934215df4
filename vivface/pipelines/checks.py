"""Checks of what a pipeline is given."""

from fractions import Fraction

from vivface.errors import OptionError


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


def refuse(advice: str, **values: object) -> None:
    """Refuse options that do not count beside others.

    Args:
        advice (`str`): What to do, and why.
        values (optional): Their values; None where they are not given.

    Raises:
        OptionError: If one is given.
    """
    for name, value in values.items():
        if value is not None:
            shown = "given" if hasattr(value, "shape") else repr(value)
            raise OptionError(f"`{name}` is {shown}; {advice}.")


def check_fit(pairs: dict[str, tuple[object, object]]) -> None:
    """Refuse components that do not fit together.

    Args:
        pairs (mapping): What is compared -> the value that a component has, and that which another one needs.

    Raises:
        OptionError: If two values differ.
    """
    for what, (given, expected) in pairs.items():
        if given != expected:
            raise OptionError(f"The components do not fit together: the {what} is {given}, expected {expected}.")
