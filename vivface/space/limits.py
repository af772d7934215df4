"""How large an upload may be, checked before any work is done with it."""

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vivface.errors import MediaError
from vivface.media.containers import input_path
from vivface.media.images import READ_FORMATS
from vivface.media.video import VideoReader
from vivface.reenactment.codes import MOTION_SUFFIX, MotionCodes

MEGA = 1_000_000


@dataclass(frozen=True)
class Limits:
    """Largest uploads of each kind.

    Attributes:
        picture_bytes, video_bytes, motion_bytes (`int`): size of the file.
        picture_pixels, video_pixels (`int`): width times height.
        seconds (`float`): of a video that are used at once.
    """

    picture_bytes: int = 40 * MEGA
    video_bytes: int = 200 * MEGA
    motion_bytes: int = 100 * MEGA
    picture_pixels: int = 60 * MEGA
    video_pixels: int = 9 * MEGA
    seconds: float = 60.0

    @property
    def upload_bytes(self) -> int:
        """The largest file of any kind."""
        return max(self.picture_bytes, self.video_bytes, self.motion_bytes)

    def check_picture(self, path: str | os.PathLike) -> Path:
        """Look at a picture's size, not at its pixels.

        Raises:
            MediaError: If it is missing or too large. What is no picture at all is left to `load_image`.
        """
        path = self._check_bytes(path, self.picture_bytes, "pictures")
        try:
            with Image.open(path, formats=READ_FORMATS) as image:
                width, height = image.size
        except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            if isinstance(error, Image.DecompressionBombError):
                raise MediaError(
                    f"The picture '{path.name}' is far too large: at most {self.picture_pixels // MEGA} million pixels "
                    "are accepted, so make it smaller."
                ) from error
            return path
        if width * height > self.picture_pixels:
            raise MediaError(
                f"The picture '{path.name}' has {width} x {height} pixels: at most {self.picture_pixels // MEGA} "
                "million are accepted, so make it smaller."
            )
        return path

    def check_video(self, path: str | os.PathLike, start: float = 0, duration: float | None = None) -> VideoReader:
        """Open a video, or the part of it that is asked for, within the limits.

        Raises:
            MediaError: If it is missing, no video, or too large.
            OptionError: If `start` or `duration` is out of range.
        """
        path = self._check_bytes(path, self.video_bytes, "videos")
        reader = VideoReader(path, start, duration, max_pixels=self.video_pixels)
        length = None if reader.duration is None else float(reader.duration)
        if length is not None and length > self.seconds + 0.5:
            raise MediaError(
                f"The video '{path.name}' lasts {length:.0f} seconds: at most {self.seconds:.0f} are made at once, so "
                "choose a part of it (start and length)."
            )
        return reader

    def check_motion(self, path: str | os.PathLike) -> MotionCodes:
        """Open a saved motion file within the limits.

        Raises:
            MediaError: If it is missing, no motion file, too large or too long.
        """
        path = self._check_bytes(path, self.motion_bytes, "motion files")
        if path.suffix != MOTION_SUFFIX:
            raise MediaError(f"'{path.name}' is no motion file: give a {MOTION_SUFFIX} file that was saved here.")
        motion = MotionCodes.load(path)
        if motion.frames / float(motion.fps) > self.seconds + 0.5:
            raise MediaError(
                f"The motion file '{path.name}' lasts {motion.frames / float(motion.fps):.0f} seconds: at most "
                f"{self.seconds:.0f} are made at once."
            )
        return motion

    @staticmethod
    def _check_bytes(path: str | os.PathLike, most: int, kind: str) -> Path:
        path = input_path(path)
        size = path.stat().st_size
        if size > most:
            raise MediaError(
                f"'{path.name}' has {size / MEGA:.0f} MB: {kind} of at most {most // MEGA} MB are accepted."
            )
        return path
