"""H.264 and AV1 at given rates: what comes back, and what it really costs."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np

from vivface.media.scheduling import open_encoder

QUANTISERS = {"H.264": range(51, 9, -1), "AV1": range(63, 9, -1)}
SCALES = (1, 2, 4)  # sizes at which a whole clip is coded are parts of its own


@dataclass
class Coded:
    """A clip that went through a video codec.

    Attributes:
        pictures (list of `numpy.ndarray`): uint8 RGB, of the clip's size.
        size (`float`): Bytes a frame, all packets counted.
        scale (`int`, *optional*, defaults to 1): The clip was coded at this part of its size.
    """

    pictures: list[np.ndarray]
    size: float
    scale: int = 1


def coded_at(
    codec: str, pictures: Sequence[np.ndarray], fps: Fraction, rates: Sequence[int], effort: int = 4
) -> dict[int, Coded]:
    """Pictures as a video codec gives them back at rates.

    The best constant quality whose packets do not exceed the rate, found by halving; its lowest quality where even
    that is larger.

    Args:
        codec (`str`): `"H.264"` or `"AV1"`.
        pictures (sequence of `numpy.ndarray`): uint8 RGB.
        fps (`Fraction`): Frames a second.
        rates (sequence of `int`): Bytes a frame.
        effort (`int`, *optional*, defaults to 4): Preset of SVT-AV1, lower is slower.
    """
    found, tried = {}, {}

    def at(quality: int) -> Coded:
        if quality not in tried:
            tried[quality] = through(codec, pictures, fps, quality, effort)
        return tried[quality]

    levels = list(QUANTISERS[codec])  # worst first
    for rate in rates:
        low, high = 0, len(levels) - 1 if at(levels[0]).size <= rate else 0
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if at(levels[middle]).size <= rate else (low, middle - 1)
        found[rate] = at(levels[low])
    return found


def best_scale_at(
    codec: str, pictures: Sequence[np.ndarray], fps: Fraction, rates: Sequence[int], effort: int = 6
) -> dict[int, Coded]:
    """The same for a whole clip, coded at its own size or at a half or a quarter of it, whichever shows it best.

    At a few kilobits a second large pictures cost more than a codec can spend; whoever sends such a clip makes it
    smaller first. Best is the smallest mean square error over the whole picture among sizes that keep the rate; if none
    does, the smallest clip.

    Args:
        As for `coded_at`.
    """
    height, width = pictures[0].shape[:2]
    found: dict[int, list[tuple[float, Coded]]] = {rate: [] for rate in rates}
    for scale in SCALES:
        small = [cv2.resize(p, (width // scale, height // scale), interpolation=cv2.INTER_AREA) for p in pictures]
        for rate, coded in coded_at(codec, small if scale > 1 else pictures, fps, rates, effort).items():
            back = [cv2.resize(p, (width, height), interpolation=cv2.INTER_CUBIC) for p in coded.pictures]
            error = float(
                np.mean([np.square(a.astype(np.float32) - b).mean() for a, b in zip(back, pictures, strict=True)])
            )
            found[rate].append((error, Coded(back, coded.size, scale)))
    return {rate: _best(tries, rate) for rate, tries in found.items()}


def _best(tries: list[tuple[float, Coded]], rate: int) -> Coded:
    fitting = [(error, coded) for error, coded in tries if coded.size <= rate]
    if fitting:
        return min(fitting, key=lambda each: each[0])[1]
    return min((coded for _, coded in tries), key=lambda coded: coded.size)


def through(codec: str, pictures: Sequence[np.ndarray], fps: Fraction, quality: int, effort: int = 4) -> Coded:
    """Encode and decode at a constant quality, one key frame.

    Args:
        codec (`str`), pictures (sequence of `numpy.ndarray`), fps (`Fraction`), effort (`int`): As for `coded_at`.
        quality (`int`): Its constant rate factor; larger is worse.
    """
    name, settings = {
        "H.264": ("libx264", {"preset": "veryslow", "crf": str(quality)}),
        "AV1": ("libsvtav1", {"preset": str(effort), "crf": str(quality), "svtav1-params": "lp=1"}),
    }[codec]
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    height, width = pictures[0].shape[0] // 2 * 2, pictures[0].shape[1] // 2 * 2
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream(name, rate=fps, options=settings)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 10_000
        open_encoder(stream.codec_context)
        size = 0
        for picture in [*pictures, None]:
            cut = None if picture is None else np.ascontiguousarray(picture[:height, :width])
            frame = None if cut is None else av.VideoFrame.from_ndarray(cut, format="rgb24")
            for packet in stream.encode(frame):
                size += packet.size
                output.mux(packet)
    buffer.seek(0)
    with av.open(buffer) as container:
        made = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return Coded(made, size / len(pictures))
