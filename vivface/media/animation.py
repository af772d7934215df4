"""Animated images that libav does not decode (WebP, AVIF ...), read with Pillow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path

from PIL import Image

from vivface.errors import MediaError
from vivface.media.containers import IMAGE_DAMAGE
from vivface.media.decoding import VideoFrame

_FORMATS = ("WEBP", "AVIF", "GIF", "PNG")
_SHORTEST, _USUAL = 10, 100  # milliseconds: what declares less is shown this long, as browsers do


def is_animation(path: Path) -> bool:
    """Whether a file is an image with more than one frame that Pillow can read."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return getattr(image, "n_frames", 1) > 1
    except (*IMAGE_DAMAGE, Image.DecompressionBombError):
        return False


class AnimatedImage:
    """An animated image with the interface of `DecodedVideo`.

    Args:
        path (`pathlib.Path`): The file.
        max_pixels (`int`): Width times height beyond which it is refused.
        warn (callable `str -> None`): Receives what went wrong without stopping the reading.

    Attributes:
        time_base (`Fraction`): Seconds per unit of the time stamps: a millisecond.
        fps (`Fraction`): Frames per second, by the duration of the first frame.
        has_audio (`bool`): False.
        length (`Fraction | None`): `None`: durations are known when the frames are read.
        frame_count (`int | None`): Frames.

    Raises:
        MediaError: If the file is damaged or has frames that are too large.
    """

    def __init__(self, path: Path, max_pixels: int, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self.time_base = Fraction(1, 1000)
        self.has_audio = False
        self.length = None
        try:
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
                self.frame_count = image.n_frames
                image.load()
                self.fps = Fraction(1000, _milliseconds(image))
        except (*IMAGE_DAMAGE, Image.DecompressionBombError) as error:
            raise MediaError(f"Cannot read {str(path)!r}: the animated image is damaged or too large.") from error
        if width * height > max_pixels:
            raise MediaError(
                f"Cannot read {str(path)!r}: its frames have {width} x {height} pixels, and at most {max_pixels} are "
                "accepted, so make it smaller."
            )

    def close(self) -> None:
        """Nothing stays open between passes."""

    def frames(self, start: Fraction) -> Iterator[VideoFrame]:
        """Frames shown at `start` or later, with times that count from the first frame.

        Args:
            start (`Fraction`): Seconds.

        Returns:
            iterator of `VideoFrame`: One frame is held at a time.

        Raises:
            MediaError: While it is read, if the first frame cannot be decoded.
        """
        from vivface.media.images import load_image  # here, as images refuse videos by name

        pts = 0
        with Image.open(self._path, formats=_FORMATS) as image:
            for index in count():
                try:
                    image.seek(index)
                    image.load()
                    length = _milliseconds(image)
                    time = Fraction(pts, 1000)
                    shown = load_image(image) if time >= start else None
                except EOFError:
                    return
                except (*IMAGE_DAMAGE, MediaError) as error:
                    if not index:
                        raise MediaError(f"Cannot read {str(self._path)!r}: the animated image is damaged.") from error
                    self._warn(f"the file is damaged or cut off; {index} frames were read up to there")
                    return
                if shown is not None:
                    yield VideoFrame(shown, time, pts, Fraction(length, 1000))
                pts += length


def _milliseconds(image: Image.Image) -> int:
    """How long the frame that was loaded last is shown."""
    declared = round(image.info.get("duration") or 0)
    return declared if declared > _SHORTEST else _USUAL
