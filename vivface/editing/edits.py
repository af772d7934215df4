"""Edits of one re-enactment, constant or over time.

Robust One-Shot Face Video Re-enactment using Hybrid Latent Spaces of StyleGAN2 (ICCV 2023), eq. 4:

    I_t = G(A(W + sum_k a_k(t) n_k) + S_t)

An amount a_k is a number, a function of the time in seconds, or key frames: amounts at times, with straight lines
between them and held before the first and after the last. Times count from the first frame of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from vivface.editing.directions import AttributeDirections
from vivface.editing.key_frames import key_frames, parse_amounts
from vivface.errors import OptionError
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.reenactment.codes import IdentityCode

Amount = float | Callable[[float], float] | Mapping[float, float] | Sequence[tuple[float, float]]
Edits = Mapping[str, Amount]


class TimedEdits:
    """The edits of one run, applied frame by frame.

    Args:
        directions (`AttributeDirections`): Of the checkpoint.
        edits (mapping of `str` to number, function of seconds, or key frames): Amounts by name; key frames as a
            mapping of seconds to amounts or as pairs.
        generator (`StyleGAN2Generator`): Whose styles an edited code is turned into, unless the identity has its own.

    Raises:
        OptionError: If a name is unknown, an amount out of range, key frames make no sense, or a direction belongs to
            a generator of another shape.
    """

    def __init__(self, directions: AttributeDirections, edits: Edits, generator: StyleGAN2Generator):
        directions.check_names(edits)
        self._directions = directions
        self._generator = generator
        self._constant: dict[str, float] = {}
        self._timed: dict[str, Callable[[float], float]] = {}
        for name, amount in edits.items():
            if isinstance(amount, Mapping | Sequence) and not isinstance(amount, str):
                amount = key_frames(f"edit {name!r}", amount)
                for value in amount.amounts:
                    directions.check({name: value})
            if callable(amount):
                self._timed[name] = amount
            else:
                directions.check({name: amount})
                self._constant[name] = amount

    @property
    def constant(self) -> bool:
        """Whether no amount changes over time."""
        return not self._timed

    def prepare(self, identity: IdentityCode) -> IdentityCode:
        """The identity with what stays the same of its person in every frame."""
        person = {name: amount for name, amount in self._constant.items() if self._directions[name].space == "w_plus"}
        self._check_shapes(identity)
        return self._directions.edit_identity(self._generator, identity, person)

    def __call__(
        self, identity: IdentityCode, motion: Tensor, times: Sequence[Fraction]
    ) -> tuple[IdentityCode, Tensor]:
        """Edit a batch of frames.

        Args:
            identity (`IdentityCode`): What `prepare` gave.
            motion (`torch.Tensor` of shape `(batch, *code_shape)`): Motion codes that are to be shown.
            times (sequence of `Fraction`): Of the frames, seconds.

        Returns:
            The identity, with one code and one set of styles a frame if the person changes, and the motion codes.

        Raises:
            OptionError: If a function gives no number, or one out of range.
        """
        amounts = {name: [self._amount(name, float(time)) for time in times] for name in self._timed}
        amounts |= {name: [amount] * len(times) for name, amount in self._constant.items()}
        turn = self._sum("motion", amounts, motion)
        changing = {name: values for name, values in amounts.items() if name in self._timed}
        step = self._sum("w_plus", changing, identity.w_plus)
        if step is not None:
            w_plus = identity.w_plus + step  # (batch, num_latents, style_dim)
            with torch.no_grad():
                styles = (identity.generator or self._generator).to_stylespace(w_plus)
            identity = replace(identity, w_plus=w_plus, styles=styles)
        return identity, motion if turn is None else motion + turn

    def _amount(self, name: str, seconds: float) -> float:
        try:
            amount = self._timed[name](seconds)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise OptionError(
                f"The edit {name!r} fails at {seconds:g} s ({error}): give a function of seconds."
            ) from error
        if hasattr(amount, "item"):  # a number of NumPy or torch
            amount = amount.item()
        self._directions.check({name: amount})
        return amount

    def _sum(self, space: str, amounts: Mapping[str, list[float]], like: Tensor) -> Tensor | None:
        """The steps of all edits in one space, `(batch, codes, style_dim)`; None if there is none."""
        chosen = [
            (self._directions[name].vector, values)
            for name, values in amounts.items()
            if any(values) and self._directions[name].space == space
        ]
        if not chosen:
            return None
        return sum(like.new_tensor(values)[:, None, None] * vector.to(like) for vector, values in chosen)

    def _check_shapes(self, identity: IdentityCode) -> None:
        for name in (*self._constant, *self._timed):
            direction = self._directions[name]
            expected = (identity.w_plus if direction.space == "w_plus" else identity.motion).shape[1:]
            if direction.vector.shape != expected:
                raise OptionError(
                    f"The direction {name!r} has {_size(direction.vector.shape)} numbers, but codes of this checkpoint "
                    f"have {_size(expected)}: it belongs to another generator."
                )


def parse_edits(texts: Sequence[str]) -> dict[str, float | dict[float, float]]:
    """Edits as the command line states them, see `parse_amounts`."""
    return parse_amounts("edit", texts, "age")


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
