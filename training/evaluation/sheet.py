"""A contact sheet of pairs and their results."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from training.evaluation.pairs import Pair
from vivface.media import VideoReader, load_image


def contact_sheet(pairs: list[tuple[Pair, Path]], columns: int, size: int = 96, count: int = 6) -> np.ndarray:
    """Show pairs and their results: the source, then driving frames above output frames of the same moments.

    Args:
        pairs (`list`): Pairs with the video made from each.
        columns (`int`): Pairs in a row.
        size (`int`, *optional*, defaults to 96): Of a frame, pixels.
        count (`int`, *optional*, defaults to 6): Frames of each video, evenly spread.

    Returns:
        `np.ndarray` of shape `(H, W, 3)`: uint8 RGB.
    """
    blocks = [_block(pair, output, size, count) for pair, output in pairs]
    blocks += [np.full_like(blocks[0], 255)] * (-len(blocks) % columns)
    return np.vstack([np.hstack(blocks[i : i + columns]) for i in range(0, len(blocks), columns)])


def _block(pair: Pair, output: Path, size: int, count: int) -> np.ndarray:
    caption = np.full((18, (2 + count) * size, 3), 255, np.uint8)
    cv2.putText(caption, pair.name, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    strips = [np.hstack([_fit(f, size) for f in _spread(path, count)]) for path in (pair.driving, output)]
    return np.vstack([caption, np.hstack([_fit(load_image(pair.source), 2 * size), np.vstack(strips)])])


def _spread(path: Path, count: int) -> list[np.ndarray]:
    with VideoReader(path) as video:
        small = [_fit(frame.image, 256) for frame in video]
    return [small[i] for i in np.linspace(0, len(small) - 1, count).round().astype(int)]


def _fit(image: np.ndarray, size: int) -> np.ndarray:
    """The image in the middle of a white square."""
    scale = size / max(image.shape[:2])
    width, height = (max(1, round(n * scale)) for n in image.shape[1::-1])
    canvas = np.full((size, size, 3), 255, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[top : top + height, left : left + width] = cv2.resize(image, (width, height), interpolation=interpolation)
    return canvas
