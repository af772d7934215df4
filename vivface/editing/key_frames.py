"""Amounts that change over time: key frames, with straight lines between them."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vivface.errors import OptionError


@dataclass(frozen=True)
class KeyFrames:
    """An amount that goes in straight lines from one key frame to the next.

    Attributes:
        times (`tuple[float, ...]`): Seconds, rising.
        amounts (`tuple[float, ...]`): At these times.
    """

    times: tuple[float, ...]
    amounts: tuple[float, ...]

    def __call__(self, seconds: float) -> float:
        after = bisect.bisect_right(self.times, seconds)
        if after == 0 or after == len(self.times):
            return self.amounts[0 if after == 0 else -1]
        start, end = self.times[after - 1], self.times[after]
        share = (seconds - start) / (end - start)
        return self.amounts[after - 1] + share * (self.amounts[after] - self.amounts[after - 1])


def key_frames(what: str, given: Mapping[float, float] | Sequence[tuple[float, float]]) -> KeyFrames:
    """Key frames in the order of time.

    Args:
        what (`str`): Whose they are, for messages.
        given (mapping or sequence of pairs): Amounts at times in seconds.

    Raises:
        OptionError: If there is none, one is no pair of numbers, or two have one time.
    """
    try:
        pairs = sorted(
            (float(time), amount) for time, amount in (given.items() if isinstance(given, Mapping) else given)
        )
        times = tuple(time for time, _ in pairs)
    except (TypeError, ValueError):
        times = ()
    if not times or len(set(times)) != len(times) or not all(map(math.isfinite, times)):
        raise OptionError(
            f"The key frames of the {what} are {str(given)[:80]}; expected amounts at different times in seconds, such "
            "as {0: 0, 2.5: 1}."
        )
    return KeyFrames(times, tuple(amount for _, amount in pairs))


def parse_amounts(what: str, texts: Sequence[str], example: str) -> dict[str, float | dict[float, float]]:
    """Amounts by name as the command line states them.

    Args:
        what (`str`): Of what, for messages.
        texts (sequence of `str`): `"NAME=AMOUNT"`, or `"NAME=SECONDS:AMOUNT,SECONDS:AMOUNT"` for key frames.
        example (`str`): A name, for messages.

    Raises:
        OptionError: If one is neither, or a name comes twice.
    """
    amounts: dict[str, float | dict[float, float]] = {}
    for text in texts:
        name, _, amount = (part.strip() for part in text.partition("="))
        try:
            if not name:
                raise ValueError
            if ":" in amount:
                pairs = [tuple(map(float, pair.split(":"))) for pair in amount.split(",")]
                value = {time: given for time, given in pairs}
            else:
                value = float(amount)
        except ValueError as error:
            raise OptionError(
                f"The {what} {text!r} is not understood; expected NAME=AMOUNT such as {example}=1, or "
                "NAME=SECONDS:AMOUNT,... such as smile=0:0,2.5:1."
            ) from error
        if name in amounts:
            raise OptionError(f"The {what} {name!r} is given twice: give it once, with key frames if it changes.")
        amounts[name] = value
    return amounts
