"""Measure how often the mark in pictures is seen where it is not: false alarms of `vivface verify` on unmarked media.

    python -m training.tools.measure_alarms photo.jpg clip.mp4 shard.npz ... --count 30000 --scores scores.jsonl

Every search is of another picture, or of a few frames of a clip: a random window, scaled, mirrored and compressed at
random, of the media or, every fifth time, of a drawing with the structure that a search for a periodic pattern may fall
for. A search has a margin: by how many powers of e its score misses what is needed, negative where nothing is found.
The rate of alarms is counted, and extrapolated from the margins' upper tail, which falls exponentially.

With `--scores` a run that was stopped goes on.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import gamma

from training.tools.measure_mark import SUFFIXES, Film, jpeg, scaled
from training.tools.programs import program_parser, run_program
from vivface.errors import MediaError
from vivface.media import VideoReader, load_image
from vivface.provenance.code import CHECK_BITS
from vivface.provenance.detection import find_mark, score_needed

FRAMES = 4  # of a film, searched together
STRIDE = 36  # frames of a clip between two films
RENDERS = 2  # pictures of a shard
DRAWINGS = 5  # every so manieth search is of a drawing
TAIL = 0.05  # share of the searches to whose margins the exponential is fitted
SURE = 0.95
NUMBER_READ = -CHECK_BITS * math.log(2)  # margin at which a mark is found if a number is read, too


@dataclass
class Search:
    """What one search gave.

    Attributes:
        kind (`str`): `"photo"`, `"film"`, `"render"` or `"drawing"`.
        score (`float`): As in `MarkFinding`.
        margin (`float`): Half the square of the score, less that of what is needed without a number.
        read (`bool`): Whether a number was read whose check bits fit.
        found (`bool`): Whether it counts as found: a false alarm.
    """

    kind: str
    score: float
    margin: float
    read: bool
    found: bool


def measure(paths: Sequence[Path], count: int, seed: int, scores: Path | None = None) -> list[Search]:
    """Search unmarked media.

    Args:
        paths (sequence of `Path`): Films, pictures and shards of rendered people (`.npz`).
        count (`int`): Searches.
        seed (`int`): Of the windows; search i is the same in every run.
        scores (`Path`, *optional*): File to which every search is added, and from which a run goes on.

    Raises:
        MediaError: If a file cannot be read.
    """
    media = [item for path in paths for item in _media(path)]
    done = [] if scores is None or not scores.exists() else scores.read_text(encoding="utf-8").splitlines()
    searches = [Search(**json.loads(line)) for line in done][:count]
    for number in range(len(searches), count):
        searches.append(_search(media, np.random.RandomState([seed, number]), number % DRAWINGS == 0))
        if scores is not None:
            with open(scores, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(searches[-1])) + "\n")
        if len(searches) % 500 == 0:
            print(f"{len(searches)} of {count}", file=sys.stderr)
    return searches


def _media(path: Path) -> Iterator[tuple[str, Callable[[], Film]]]:
    """What there is to search in a file, each with what opens it."""
    if path.suffix == ".npz":
        frames = len(_arrays(path, "jpeg_offsets")[0]) - 1
        yield from (("render", partial(_render, path, frames * i // RENDERS)) for i in range(RENDERS))
    elif path.suffix.lower() in SUFFIXES:
        image = load_image(path)
        yield "photo", lambda: [image]
    else:
        with VideoReader(path) as reader:
            frames = [frame.image for number, frame in enumerate(reader) if number % STRIDE < FRAMES]
        for first in range(0, len(frames), FRAMES):
            yield "film", partial(frames.__getitem__, slice(first, first + FRAMES))


def _render(path: Path, frame: int) -> Film:
    offsets, coded = _arrays(path, "jpeg_offsets", "jpeg_bytes")
    image = cv2.imdecode(coded[offsets[frame] : offsets[frame + 1]], cv2.IMREAD_COLOR)
    return [cv2.cvtColor(image, cv2.COLOR_BGR2RGB)]


def _arrays(path: Path, *names: str) -> list[np.ndarray]:
    try:
        with np.load(path) as file:
            return [file[name] for name in names]
    except (OSError, KeyError, ValueError) as error:
        raise MediaError(f"'{path}' is no shard of rendered people: give films, pictures and shards.") from error


def _search(media: Sequence[tuple[str, Callable[[], Film]]], random: np.random.RandomState, drawn: bool) -> Search:
    if drawn or not media:
        kind, film = "drawing", [drawing(random)]
    else:
        kind, opened = media[random.randint(len(media))]
        film = opened()
    film = window(film, random)
    finding = find_mark(film)
    needed = score_needed(film[0].shape[1::-1])
    margin = (max(finding.score, 0.0) ** 2 - needed**2) / 2
    return Search(kind, finding.score, margin, finding.identifier is not None, finding.found)


def window(film: Film, random: np.random.RandomState) -> Film:
    """The same random part of every frame, scaled, mirrored half of the time, and half of the time compressed."""
    height, width = film[0].shape[:2]
    rows, columns = (min(max(round(side * random.uniform(0.45, 1)), 32), side) for side in (height, width))
    top, left = random.randint(height - rows + 1), random.randint(width - columns + 1)
    factor, mirrored = random.uniform(0.5, 1.6), random.rand() < 0.5
    quality = random.randint(40, 96) if random.rand() < 0.5 else None
    changed = []
    for frame in film:
        part = scaled(factor)(frame[top : top + rows, left : left + columns])
        part = np.ascontiguousarray(part[:, ::-1] if mirrored else part)
        changed.append(part if quality is None else jpeg(quality)(part))
    return changed


def drawing(random: np.random.RandomState, side: int = 512) -> np.ndarray:
    """A grating, a chequerboard, rings, a page of text, or noise: RGB `(side, side, 3)`, uint8."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    angle, period = random.uniform(0, np.pi), random.uniform(4, side / 4)
    along = (columns * np.cos(angle) + rows * np.sin(angle)) / period
    across = (rows * np.cos(angle) - columns * np.sin(angle)) / period
    match random.randint(5):
        case 0:
            grey = 0.5 + 0.5 * np.sin(2 * np.pi * along)
        case 1:
            grey = (np.floor(along) + np.floor(across)) % 2
        case 2:
            grey = 0.5 + 0.5 * np.sin(2 * np.pi * np.hypot(along - random.rand(), across - random.rand()))
        case 3:
            page = np.full((side, side), 255, np.uint8)
            height = random.randint(10, 40)
            for line in range(height, side, height):
                words = "".join(map(chr, random.randint(32, 127, 80)))
                cv2.putText(page, words, (5, line), cv2.FONT_HERSHEY_SIMPLEX, height / 40, 0, 1)
            grey = page / 255
        case _:
            noise = random.rand(side, side).astype(np.float32)
            grey = cv2.GaussianBlur(noise, (0, 0), random.uniform(0.3, 4))
            grey = np.clip(0.5 + 0.2 * (grey - grey.mean()) / grey.std(), 0, 1)
    low, high = np.sort(random.uniform(0, 255, 2))
    return np.repeat((low + (high - low) * grey)[..., None], 3, 2).astype(np.uint8)


def chance_beyond(margins: np.ndarray, margin: float) -> tuple[float, float]:
    """The chance that a margin is reached, extrapolated from the upper tail of those that were seen.

    Above the quantile 1 - `TAIL` margins are taken as exponentially distributed: scores are maxima of sums of hundreds
    of cosines, half the square of which has such a tail.

    Args:
        margins (`numpy.ndarray` of shape `(searches,)`): Of searches without a mark.
        margin (`float`): One beyond the quantile.

    Returns:
        `tuple[float, float]`: The likeliest chance, and the highest that fits the tail with the certainty `SURE`.
    """
    first = np.quantile(margins, 1 - TAIL)
    excess = margins[margins > first] - first
    rate = 1 / excess.mean()
    lowest = gamma.ppf(1 - SURE, len(excess)) / excess.sum()
    share = len(excess) / len(margins)
    return share * math.exp(-rate * (margin - first)), share * math.exp(-lowest * (margin - first))


def report(searches: Sequence[Search]) -> list[str]:
    """What was counted and extrapolated, line by line."""
    margins = np.array([search.margin for search in searches])
    kinds = {kind: [s for s in searches if s.kind == kind] for kind in sorted({search.kind for search in searches})}
    lines = [
        "| searches of | count | false alarms | numbers read | highest score | highest margin |",
        "|---|---|---|---|---|---|",
    ]
    for kind, group in {**kinds, "all": list(searches)}.items():
        found, read = (sum(getattr(search, name) for search in group) for name in ("found", "read"))
        best, margin = max(search.score for search in group), max(search.margin for search in group)
        lines.append(f"| {kind} | {len(group)} | {found} | {read} | {best:.2f} | {margin:.1f} |")
    found = sum(search.found for search in searches)
    most = gamma.ppf(SURE, found + 1) / len(searches)
    lines.append(f"Counted: {found} in {len(searches)}, so less than 1 in {1 / most:,.0f} with {SURE:.0%} confidence.")
    lines += ["| margin | counted beyond | by the exponential tail |", "|---|---|---|"]
    for margin in np.linspace(np.quantile(margins, 1 - TAIL / 2), margins.max(), 5):
        expected = chance_beyond(margins, margin)[0] * len(searches)
        lines.append(f"| {margin:.1f} | {(margins >= margin).sum()} | {expected:.1f} |")
    parts = [chance_beyond(margins, 0.0), chance_beyond(margins, NUMBER_READ)]
    likely, highest = (alone + 2.0**-CHECK_BITS * with_number for alone, with_number in zip(*parts, strict=True))
    lines.append(
        f"Extrapolated by that tail: an alarm in {1 / likely:,.0f} searches, at most one in {1 / highest:,.0f} with "
        f"{SURE:.0%} confidence."
    )
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measure and print.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        MediaError: If a file cannot be read.
    """
    parser = program_parser("measure_alarms", __doc__)
    parser.add_argument("media", nargs="*", type=Path, help="unmarked films, pictures and shards of rendered people")
    parser.add_argument("--count", type=int, default=1000, help="searches")
    parser.add_argument("--seed", type=int, default=0, help="of the windows")
    parser.add_argument("--scores", type=Path, help="file that keeps every search, and from which a run goes on")
    options = parser.parse_args(arguments)
    print("\n".join(report(measure(options.media, options.count, options.seed, options.scores))))


if __name__ == "__main__":
    run_program(main)
