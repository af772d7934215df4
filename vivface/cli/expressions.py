"""What `vivface edit` says about an expression: controls, presets, and a strip of variants."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vivface.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

    from vivface.reenactment.expressive_photo import ExpressivePhoto


@dataclass(frozen=True)
class ExpressionRequest:
    """What was asked.

    Attributes:
        values (`dict[str, float]`): Amounts by name of control.
        strip (`bool`): Whether a row of variants is wanted.
        vary (`str`, *optional*): Which control goes through its range there.
        given (`bool`): Whether anything was asked at all.
    """

    values: dict[str, float]
    strip: bool
    vary: str | None
    given: bool

    @classmethod
    def read(
        cls, texts: Sequence[str], presets: Sequence[str], strip: bool, vary: str | None, detail: bool | None
    ) -> "ExpressionRequest":
        """What the options say, presets first, in their order.

        Raises:
            OptionError: If one is not understood, or they contradict one another.
            MediaError: If a preset cannot be read.
        """
        from vivface.reenactment.expressive_photo import load_preset, variants
        from vivface.warping.controls import check_expression

        values: dict[str, float] = {}
        for preset in presets:
            values |= load_preset(preset)
        for text in texts:
            name, _, amount = (part.strip() for part in text.partition("="))
            try:
                values[name] = float(amount)
            except ValueError as error:
                raise OptionError(f"The expression {text!r} is not understood; expected NAME=AMOUNT.") from error
        given = bool(texts or presets or strip or vary)
        if vary is not None and not strip:
            raise OptionError("`--vary` says what changes along a strip: give --strip, too.")
        if given and detail is False:
            raise OptionError("An expression moves the photograph itself: leave out --no-detail, or take --edit.")
        variants(values, vary, 2)  # checks the names
        return cls(check_expression(values), strip, vary, given)

    def show(self, photo: "ExpressivePhoto") -> "np.ndarray":
        """The image or the strip, uint8 RGB `(height, width, 3)`."""
        return photo.strip(self.values, self.vary) if self.strip else photo(self.values)
