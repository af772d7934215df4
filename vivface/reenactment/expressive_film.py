"""A film whose faces wear an expression added to their own, without a driver."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from vivface.reenactment.film import Film
from vivface.reenactment.film_result import FilmOptions, FilmResult, Wanted
from vivface.reenactment.progress import OnProgress
from vivface.reenactment.rendering import RenderOptions
from vivface.reenactment.result import System
from vivface.warping.controls import Expression
from vivface.warping.expressive_head import ExpressiveHead
from vivface.warping.film_head import FilmHead


class ExpressiveFilm(FilmResult):
    """A film under sliders, made lazily; see `ReenactmentResult`.

    Args:
        system (`System`): The pipeline.
        film (`Film`): The film and the faces that are followed in it.
        expression (callable `float -> mapping`): Amounts of `vivface.warping.controls.CONTROLS` at a time in seconds.
        turns (`bool`): Whether heads are turned, too.
    """

    def __init__(self, system: System, film: Film, expression: Callable[[float], Expression], turns: bool):
        super().__init__(system, film, [], RenderOptions(paste_back=True, detail=True), FilmOptions())
        self._expression, self._turns = expression, turns

    def _origin(self) -> list[object]:
        return [*super()._origin(), self._expression]

    def _prepared(self, stack: ExitStack, on_progress: OnProgress) -> tuple[list[FilmHead | None], Wanted]:
        kinds = [partial(ExpressiveHead, turns=self._turns)] * len(self.film.faces)
        return self._heads(kinds, on_progress), lambda seconds: [self._expression(seconds)] * len(kinds)
