"""An expression that may change over time, for films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vivface.editing.key_frames import KeyFrames, key_frames
from vivface.warping.controls import check_expression

TimedAmount = float | Mapping[float, float] | Sequence[tuple[float, float]]


class TimedExpression:
    """Amounts of the controls of a face at any time.

    Args:
        amounts (mapping of `str` to number or key frames): By name of `vivface.warping.controls.CONTROLS`; key frames
            as a mapping of seconds to amounts or as pairs, with straight lines between them, held before the first
            and after the last.

    Raises:
        OptionError: If a control is unknown, an amount out of its range, or key frames make no sense.
    """

    def __init__(self, amounts: Mapping[str, TimedAmount]):
        self._constant: dict[str, float] = {}
        self._timed: dict[str, KeyFrames] = {}
        for name, amount in amounts.items():
            if isinstance(amount, Mapping | Sequence) and not isinstance(amount, str):
                frames = key_frames(f"control {name!r}", amount)
                for value in frames.amounts:
                    check_expression({name: value})
                self._timed[name] = frames
            else:
                self._constant |= check_expression({name: amount})

    def __call__(self, seconds: float) -> dict[str, float]:
        """Amounts by name at a time of the film."""
        return self._constant | {name: frames(seconds) for name, frames in self._timed.items()}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._constant | self._timed})"

    @property
    def names(self) -> set[str]:
        """Controls that are not 0 all the time."""
        return set(self._constant) | {name for name, frames in self._timed.items() if any(frames.amounts)}
