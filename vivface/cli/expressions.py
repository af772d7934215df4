"""What `vivface edit` says about an expression: controls, presets, and a strip of variants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vivface.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from vivface.editing import TimedAmount
    from vivface.reenactment.expressive_photo import ExpressivePhoto


@dataclass(frozen=True)
class ExpressionRequest:
    """What was asked.

    Attributes:
        values (`dict[str, float]`): Amounts by name of control; of a film also key frames.
        strip (`bool`): Whether a row of variants is wanted.
        vary (`str`, *optional*): Which control goes through its range there.
        given (`bool`): Whether anything was asked at all.
    """

    values: "dict[str, TimedAmount]"
    strip: bool
    vary: str | None
    given: bool

    @classmethod
    def read(
        cls,
        texts: Sequence[str],
        presets: Sequence[str],
        strip: bool,
        vary: str | None,
        detail: bool | None,
        film: bool = False,
    ) -> "ExpressionRequest":
        """What the options say, presets first, in their order; for a film amounts may change over time.

        Raises:
            OptionError: If one is not understood, or they contradict one another.
            MediaError: If a preset cannot be read.
        """
        from vivface.editing import TimedExpression, parse_amounts
        from vivface.reenactment.expressive_photo import load_preset, variants
        from vivface.warping.controls import CONTROLS, HEAD, check_expression

        values: dict[str, TimedAmount] = {}
        for preset in presets:
            values |= load_preset(preset)
        if film:  # whose head moves by itself
            values = {name: value for name, value in values.items() if CONTROLS[name].group != HEAD}
        values |= parse_amounts("expression", texts, "smile")
        given = bool(texts or presets or strip or vary)
        if vary is not None and not strip:
            raise OptionError("`--vary` says what changes along a strip: give --strip, too.")
        if given and detail is False:
            raise OptionError("An expression moves the photograph itself: leave out --no-detail, or take --edit.")
        if film and not strip:
            TimedExpression(values)  # checks them
            return cls(values, strip, vary, given)
        changing = [name for name, amount in values.items() if isinstance(amount, dict)]
        if changing:
            raise OptionError(f"The expression {changing[0]!r} changes over time, which is for films: give one amount.")
        variants(values, vary, 2)  # checks the names
        return cls(check_expression(values), strip, vary, given)

    @property
    def words(self) -> str:
        """The amounts in words."""
        return ", ".join(
            f"{name} {'over time' if isinstance(x, dict) else f'{x:g}'}" for name, x in self.values.items()
        )

    def show(self, photo: "ExpressivePhoto") -> "np.ndarray":
        """The image or the strip, uint8 RGB `(height, width, 3)`."""
        return photo.strip(self.values, self.vary) if self.strip else photo(self.values)
