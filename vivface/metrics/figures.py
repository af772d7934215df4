"""What an evaluation looks like: a contact sheet of the pairs, and curves over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from vivface.media import VideoReader, load_image
from vivface.metrics.average import needs

MOST_ERROR = 48.0  # of 255, where the colours of a heat map end
FRAME, COUNT = 96, 6  # pixels and number of the frames of a video in the sheet
PLOTS = (  # panels of a plot: title, curves
    ("images", ("L1", "LPIPS", "feature distance (recognizer)")),
    ("PSNR, dB", ("PSNR",)),
    ("identity", ("CSIM", "identity similarity (recognizer)")),
    ("yaw, degrees", ("yaw of driving", "yaw of result")),
    ("pitch, degrees", ("pitch of driving", "pitch of result")),
    ("expression distance", ("expression distance (face state)",)),
    ("gaze error, degrees", ("gaze error (face state)",)),
    ("motion, in crops", ("dK", "jitter")),
)


def contact_sheet(blocks: Sequence[tuple[str, Path, Path, Path]], columns: int = 2) -> np.ndarray:
    """Every pair with frames of the same moments.

    Args:
        blocks (sequence of tuples): Name, source image, driving video, result video.
        columns (`int`, *optional*, defaults to 2): Pairs in a row.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`: uint8 RGB.
    """
    drawn = [_block(*block) for block in blocks]
    drawn += [np.full_like(drawn[0], 255)] * (-len(drawn) % columns)
    return np.vstack([np.hstack(drawn[i : i + columns]) for i in range(0, len(drawn), columns)])


def heat_map(path: Path, blocks: Sequence[tuple[str, np.ndarray, Mapping[int, np.ndarray]]], title: str) -> None:
    """Draw where results differ from the truth, whichever frame was the source (hybrid latent spaces, fig. 1).

    A row a video: a frame of it, the error of every run, their mean, and their standard deviation. The scale is the
    same in every figure, so figures of systems can be compared.

    Args:
        path (`Path`): PNG to write.
        blocks (sequence of tuples): Name, a driving frame `(size, size, 3)` uint8 RGB, and for every run, counted from
            0, the mean absolute error of each pixel `(size, size)`, of 255.
        title (`str`): What was measured.

    Raises:
        BackendError: If matplotlib is not installed.
    """
    figure_class = needs("matplotlib.figure").Figure
    runs = 1 + max(run for _, _, maps in blocks for run in maps)
    heads = ["video", *(f"source {run + 1}" for run in range(runs)), "mean", "deviation"]
    figure = figure_class(figsize=(1.5 * len(heads) + 0.8, 1.62 * len(blocks) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(len(blocks), len(heads), squeeze=False)
    for row, (name, frame, maps) in zip(axes, blocks, strict=True):
        stack = np.stack(list(maps.values()))
        spread = stack.std(axis=0, ddof=1) if len(stack) > 1 else np.zeros_like(stack[0])
        row[0].imshow(frame)
        row[0].set_ylabel(name, fontsize=7)
        for place, error in {**maps, runs: stack.mean(axis=0), runs + 1: spread}.items():
            shown = row[1 + place].imshow(error, cmap="inferno", vmin=0, vmax=MOST_ERROR)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    for axis, head in zip(axes[0], heads, strict=True):
        axis.set_title(head, fontsize=7)
    figure.colorbar(shown, ax=axes, label="absolute error, of 255", shrink=0.8)
    figure.savefig(path, format="png", dpi=100)


def plot(path: Path, name: str, curves: Mapping[str, Sequence[float]]) -> None:
    """Draw the curves of a pair over its frames into a PNG.

    Raises:
        BackendError: If matplotlib is not installed.
    """
    figure_class = needs("matplotlib.figure").Figure  # without pyplot: no display, no state
    shown = [(title, [n for n in names if len(curves.get(n, ())) > 0]) for title, names in PLOTS]
    shown = [(title, names) for title, names in shown if names]
    figure = figure_class(figsize=(9, 1.7 * max(len(shown), 1)), layout="constrained")
    figure.suptitle(name)
    for number, (title, names) in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, number + 1)
        for curve in names:
            axes.plot(curves[curve], label=curve, linewidth=1)
        axes.set_ylabel(title, fontsize=7)
        axes.legend(fontsize=7, loc="upper right")
    figure.savefig(path, format="png", dpi=110)


def _block(name: str, source: Path, driving: Path, result: Path) -> np.ndarray:
    caption = np.full((18, (2 + COUNT) * FRAME, 3), 255, np.uint8)
    text = name.encode("ascii", "replace").decode()
    cv2.putText(caption, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    length = _length(result)
    strips = [_strip(path, length) for path in (driving, result)]
    return np.vstack([caption, np.hstack([_fit(load_image(source), 2 * FRAME), np.vstack(strips)])])


def _length(path: Path) -> int:
    with VideoReader(path) as video:
        return sum(1 for _ in video)


def _strip(path: Path, length: int) -> np.ndarray:
    wanted = np.linspace(0, max(length - 1, 0), COUNT).round().astype(int).tolist()
    blank = np.full((FRAME, FRAME, 3), 255, np.uint8)
    kept: dict[int, np.ndarray] = {}
    with VideoReader(path) as video:
        for number, frame in enumerate(video):
            if number in wanted:
                kept[number] = _fit(frame.image, FRAME)
            if number >= wanted[-1]:
                break
    return np.hstack([kept.get(number, blank) for number in wanted])


def _fit(image: np.ndarray, size: int) -> np.ndarray:
    """The image in the middle of a white square."""
    scale = size / max(image.shape[:2])
    width, height = (max(1, round(n * scale)) for n in image.shape[1::-1])
    canvas = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=interpolation)
    return canvas
