"""Find the mark of `vivface.provenance.mark` in pictures that were re-encoded, scaled, cropped or taken off a screen.

What is left of the mark is brought out by whitening (the picture less its blur, over its local contrast) and averaged
over frames. The result is folded to one period, for every period that the picture's size allows; of the folded spectrum
only the phases count. Their agreement with those of the steady waves, at the best of all shifts, is the score.

Only phases count, so the chance of a false alarm can be bounded whatever the picture shows: the sum of n cosines of
independent uniform angles exceeds z * sqrt(n / 2) with a probability of at most exp(-z ** 2 / 2) (Chernoff's bound with
I0(t) <= exp(t ** 2 / 4)), times the number of periods, shifts and mirror images that were tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vivface.provenance.code import CHECK_BITS, CODED_BITS, decode, encode
from vivface.provenance.mark import period_of, waves

MOST_CHANCE = 1e-6  # of a false alarm, at which a mark counts as found
KNOWN_CHANCE = 1e-4  # of taking pictures without a mark for ones with a known one
_CELLS = 64  # of a folded period
_SHIFTS = 96  # places tried along a period
_BLUR, _NOISE = 2.0, 0.7  # of the whitening: pixels, levels
_NOTHING = 1e-6  # keeps empty waves from being divided by
_NEAR = 7  # periods tried around the best one
_STEP = 3.5  # pixels by which a tried period may be off at the far end of the picture
# (pixels of the shorter side when searched, shortest and longest period over that side): whole pictures and crops
# first, then pictures that are a part of a larger one, as on a screen.
_PASSES = ((256, 0.33, 1.15), (512, 0.15, 0.34))


@dataclass(frozen=True)
class MarkFinding:
    """What a search found.

    Attributes:
        found (`bool`): Whether the mark is there: `chance` is at most `MOST_CHANCE`.
        chance (`float`): Bound of the probability that unmarked pictures look like this, 0 to 1.
        score (`float`): Agreement of the phases, in standard deviations of chance.
        identifier (`int`, *optional*): The number it carries, if it could be read.
        period (`float`): Of the pattern, as a part of the picture's shorter side.
        mirrored (`bool`): Whether the picture was flipped from left to right.
    """

    found: bool
    chance: float
    score: float
    identifier: int | None
    period: float
    mirrored: bool


@dataclass(frozen=True)
class _Candidate:
    score: float
    period: float
    mirrored: bool
    shift: tuple[float, float]
    spectrum: np.ndarray


def find_mark(images: Sequence[np.ndarray], searches: int = 1) -> MarkFinding:
    """Search pictures of one film, or one picture, for the mark.

    Args:
        images (sequence of `numpy.ndarray` of shape `(height, width, 3)`, `uint8`): RGB, of one size.
        searches (`int`, *optional*, defaults to 1): How many searches are made of the same film; the chance of a false
            alarm counts them all.

    Returns:
        `MarkFinding`: What was found; the best candidate also where that is not enough.

    Raises:
        ValueError: If there is no picture.
    """
    if not len(images):
        raise ValueError("`images` is empty, but needs at least one picture.")
    finding = None
    tried = 0
    for side, shortest, longest in _PASSES:
        white = np.mean([_whitened(image, side) for image in images], 0, dtype=np.float32)
        periods = list(_periods(white.shape, side, shortest, longest))
        tried += len(periods) * 2 * _SHIFTS**2
        best = max((c for p in periods for c in _candidates(white, p)), key=lambda c: c.score)
        step = _STEP / max(white.shape)
        near = [best.period * (1 + step * (part - _NEAR // 2) / 4) for part in range(_NEAR)]
        tried += len(near) * 2 * _SHIFTS**2
        best = max((c for p in near for c in _candidates(white, p)), key=lambda c: c.score)
        latest = _judged(best, tried * searches, side)
        finding = latest if finding is None or latest.chance < finding.chance else finding
        if finding.found:
            break
    return finding


def score_needed(size: tuple[int, int], number_read: bool = False) -> float:
    """The lowest score with which a search of pictures may count as a mark found.

    Args:
        size (`tuple[int, int]`): Width and height of the pictures.
        number_read (`bool`, *optional*, defaults to False): Whether a number was read whose check bits fit.

    Returns:
        `float`: Standard deviations of chance, as `MarkFinding.score`.
    """
    side, shortest, longest = _PASSES[0]  # later passes have tried more, and need more
    shape = [max(round(pixels * side / min(size)), 1) for pixels in size]
    tried = (sum(1 for _ in _periods(shape, side, shortest, longest)) + _NEAR) * 2 * _SHIFTS**2
    log_chance = math.log(MOST_CHANCE) + (CHECK_BITS * math.log(2) if number_read else 0.0)
    return math.sqrt(2 * (math.log(tried) - log_chance))


def confirm_mark(images: Sequence[np.ndarray], identifier: int) -> bool:
    """Whether pictures carry a mark that is known: much surer than a search, as all waves and their period are.

    Args:
        images (sequence of `numpy.ndarray` of shape `(height, width, 3)`, `uint8`): RGB, as high as they were marked;
            more may stand beside them.
        identifier (`int`): The number that the mark should carry.

    Returns:
        `bool`: True with a probability of at most `KNOWN_CHANCE` where it is not there.
    """
    height, width = images[0].shape[:2]
    side = min(256, min(height, width))
    period = period_of((width, height)) * side / min(height, width)
    white = np.mean([_whitened(image, side) for image in images], 0, dtype=np.float32)
    spectrum = np.fft.rfft2(_folding(white.shape[0], period).T @ white @ _folding(white.shape[1], period))
    set_of = waves()
    expected = np.exp(1j * set_of.phases) * np.where(set_of.bits < 0, 1.0, encode(identifier)[set_of.bits])
    score, _ = _best_shift(spectrum, set_of.vertical, set_of.horizontal, expected.conj())
    return score > math.sqrt(2 * math.log(_SHIFTS**2 / KNOWN_CHANCE))


def _whitened(image: np.ndarray, side: int) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    scale = side / min(grey.shape)
    if scale != 1:
        size = (max(round(grey.shape[1] * scale), 1), max(round(grey.shape[0] * scale), 1))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), _BLUR)
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), _BLUR)) + _NOISE
    return np.clip(detail / contrast, -1, 1)


def _periods(shape: Sequence[int], side: int, shortest: float, longest: float) -> Iterator[float]:
    """Periods in pixels, so dense that one of them fits all over the picture."""
    ratio = 1 + _STEP / max(shape)
    period = shortest * side
    while period < longest * side:
        yield period
        period *= ratio


def _candidates(white: np.ndarray, period: float) -> Iterator[_Candidate]:
    """The best shift for a period, of the picture and of its mirror image."""
    folded = _folding(white.shape[0], period).T @ white @ _folding(white.shape[1], period)
    vertical, horizontal, conjugate = _steady()
    for mirrored in (False, True):
        spectrum = np.fft.rfft2(folded[:, ::-1] if mirrored else folded)
        score, shift = _best_shift(spectrum, vertical, horizontal, conjugate)
        yield _Candidate(score, period, mirrored, shift, spectrum)


def _best_shift(
    spectrum: np.ndarray, vertical: np.ndarray, horizontal: np.ndarray, conjugate: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """How well the phases of some waves agree at the best shift, in standard deviations, and that shift in periods."""
    values = spectrum[vertical, horizontal]
    agreement = np.zeros((_SHIFTS, _SHIFTS // 2 + 1), np.complex64)
    agreement[vertical, horizontal] = values / (np.abs(values) + _NOTHING) * conjugate
    scores = np.fft.irfft2(agreement, (_SHIFTS, _SHIFTS))
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    score = float(scores[row, column]) * (_SHIFTS**2 / 2) / math.sqrt(len(vertical) / 2)
    return score, (row / _SHIFTS, column / _SHIFTS)


@lru_cache(maxsize=1)
def _steady() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cycles of the steady waves, and the inverse of their phases as complex numbers."""
    set_of = waves()
    steady = set_of.bits < 0
    return set_of.vertical[steady], set_of.horizontal[steady], np.exp(-1j * set_of.phases[steady]).astype(np.complex64)


def _folding(pixels: int, period: float) -> np.ndarray:
    """The matrix `(pixels, _CELLS)` that adds all periods up, each pixel shared by two cells."""
    place = (np.arange(pixels) + 0.5) / period * _CELLS % _CELLS
    cell = place.astype(int)
    part = (place - cell).astype(np.float32)
    matrix = np.zeros((pixels, _CELLS), np.float32)
    matrix[np.arange(pixels), cell % _CELLS] = 1 - part
    matrix[np.arange(pixels), (cell + 1) % _CELLS] += part
    return matrix


def _judged(candidate: _Candidate, tried: int, side: int) -> MarkFinding:
    log_chance = math.log(tried) - max(candidate.score, 0.0) ** 2 / 2
    identifier = _read(candidate)
    if identifier is not None:
        log_chance -= CHECK_BITS * math.log(2)
    chance = math.exp(min(log_chance, 0.0))
    return MarkFinding(
        chance <= MOST_CHANCE, chance, candidate.score, identifier, candidate.period / side, candidate.mirrored
    )


def _read(candidate: _Candidate) -> int | None:
    """The identifier, read at the place where the steady waves fit best."""
    set_of = waves()
    values = candidate.spectrum[set_of.vertical, set_of.horizontal]
    values = values / (np.abs(values) + _NOTHING) * np.exp(-1j * set_of.phases)
    steady = set_of.bits < 0
    offsets = np.linspace(-0.75, 0.75, 13) / _SHIFTS
    rows, columns = candidate.shift[0] + offsets, candidate.shift[1] + offsets
    turn = 2j * np.pi
    by_row = np.exp(turn * np.outer(set_of.vertical[steady], rows))
    by_column = np.exp(turn * np.outer(set_of.horizontal[steady], columns))
    fit = np.einsum("w,wr,wc->rc", values[steady], by_row, by_column).real
    row, column = np.unravel_index(fit.argmax(), fit.shape)
    payload = ~steady
    place = set_of.vertical[payload] * rows[row] + set_of.horizontal[payload] * columns[column]
    soft = (values[payload] * np.exp(turn * place)).real
    return decode(np.bincount(set_of.bits[payload], soft, CODED_BITS))
