"""How large uploads and runs may be; held before work begins and while files are read."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vivface.errors import MediaError
from vivface.media.containers import input_path
from vivface.media.images import READ_FORMATS
from vivface.media.video import VideoReader
from vivface.pipelines.base import ReenactmentPipeline
from vivface.reenactment.codes import MOTION_SUFFIX, MotionBatch, MotionCodes

MEGA = 1_000_000
TOLERANCE = 0.5  # seconds beyond the limit that are still accepted


@dataclass(frozen=True)
class Limits:
    """Largest uploads of each kind, and what one run and all visitors may take.

    Attributes:
        image_bytes, video_bytes, motion_bytes (`int`): Size of the file.
        image_pixels, video_pixels (`int`): Width times height.
        seconds (`float`): Of a video that one run uses.
        frames (`int`): Of a video that one run uses.
        memory_bytes (`int`): What is remembered of all visitors together.
    """

    image_bytes: int = 40 * MEGA
    video_bytes: int = 200 * MEGA
    motion_bytes: int = 100 * MEGA
    image_pixels: int = 60 * MEGA
    video_pixels: int = 9 * MEGA
    seconds: float = 60.0
    frames: int = 7200
    memory_bytes: int = 1000 * MEGA

    @property
    def upload_bytes(self) -> int:
        """The largest file of any kind."""
        return max(self.image_bytes, self.video_bytes, self.motion_bytes)

    def check_image(self, path: str | os.PathLike) -> Path:
        """Check an image's size without decoding it.

        Raises:
            MediaError: If it is missing or too large. What is no image at all is left to `load_image`.
        """
        path = self._check_bytes(path, self.image_bytes, "images")
        most = f"at most {self.image_pixels // MEGA} million pixels are accepted, so make it smaller."
        try:
            with Image.open(path, formats=READ_FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError as error:
            raise MediaError(f"The image '{path.name}' is far too large: {most}") from error
        except (OSError, SyntaxError, ValueError):
            return path
        if width * height > self.image_pixels:
            raise MediaError(f"The image '{path.name}' has {width} x {height} pixels: {most}")
        return path

    def open_video(self, path: str | os.PathLike, start: float = 0, max_frames: int | None = None) -> VideoReader:
        """Open a video for a look at its first frames.

        Raises:
            MediaError: If it is missing, no video, or too large.
            OptionError: If `start` is out of range.
        """
        path = self._check_bytes(path, self.video_bytes, "videos")
        frames = min(max_frames or self.frames, self.frames)
        return VideoReader(path, start, self.seconds + TOLERANCE, self.video_pixels, frames)

    def open_driving(
        self, pipeline: ReenactmentPipeline, path: str | os.PathLike, face: int | None, start: float, duration: float
    ) -> MotionCodes:
        """Open a driving video as motion codes that end at the limits, whatever the file declares.

        Args:
            pipeline (`ReenactmentPipeline`): Reads the motion.
            path (`str` or `os.PathLike`): The video.
            face (`int`, *optional*): Which face to follow, 0 the largest.
            start, duration (`float`): The part to use, seconds; duration 0 for all the rest.

        Raises:
            MediaError: If it is missing, no video, too large, or declares to be too long.
            OptionError: If `start` is out of range.
        """
        path, most = self._check_bytes(path, self.video_bytes, "videos"), self.seconds + TOLERANCE
        too_long = f"at most {self.seconds:g} seconds are made at once, so choose a part of it (start and duration)."
        if duration > most:
            raise MediaError(f"{duration:g} seconds of '{path.name}' were asked for: {too_long}")
        motion = pipeline.encode_motion(
            path, face, start, duration or most, max_pixels=self.video_pixels, max_frames=self.frames
        )
        if not duration and motion.seconds is not None and motion.seconds >= most:
            raise MediaError(f"The video '{path.name}' is too long: {too_long}")
        return motion if duration else motion.map(lambda batches: self._warn_at_the_end(motion, batches))

    def _warn_at_the_end(self, motion: MotionCodes, batches: Iterator[MotionBatch]) -> Iterator[MotionBatch]:
        """Say so if a video was longer than it declares, and its rest was left out."""
        end = 0.0
        for batch in batches:
            end = float(batch.times[-1] + batch.durations[-1])
            yield batch
        if end >= self.seconds + TOLERANCE - 2 / float(motion.fps):
            motion.warnings.append(f"Only the first {self.seconds:g} seconds of '{motion.name}' were used.")

    def open_film(self, path: str | os.PathLike, start: float, duration: float) -> VideoReader:
        """Open a film that ends at the limits, whatever the file declares.

        Args:
            path (`str` or `os.PathLike`): The film.
            start, duration (`float`): The part to use, seconds; duration 0 for all the rest.

        Raises:
            MediaError: If it is missing, no video, too large, or declares to be too long.
            OptionError: If `start` is out of range.
        """
        path, most = self._check_bytes(path, self.video_bytes, "videos"), self.seconds + TOLERANCE
        film = VideoReader(path, start, duration or most, self.video_pixels, self.frames)
        if duration > most or (not duration and film.duration is not None and film.duration >= most):
            raise MediaError(
                f"The film '{path.name}' is too long: at most {self.seconds:g} seconds are made at once, so choose a "
                "part of it (film_start and film_duration)."
            )
        return film

    def open_motion_file(self, path: str | os.PathLike) -> MotionCodes:
        """Open a saved motion file within the limits.

        Raises:
            MediaError: If it is missing, no motion file, too large or too long.
        """
        path = self._check_bytes(path, self.motion_bytes, "motion files")
        if path.suffix != MOTION_SUFFIX:
            raise MediaError(f"'{path.name}' is no motion file: give a {MOTION_SUFFIX} file that was saved here.")
        motion = MotionCodes.load(path)
        seconds = math.inf if motion.seconds is None else float(motion.seconds)  # by its timestamps, not its rate
        if seconds > self.seconds + TOLERANCE or motion.frames > self.frames:
            raise MediaError(
                f"The motion file '{path.name}' holds {motion.frames} frames in {seconds:.0f} seconds: at most "
                f"{self.frames} frames in {self.seconds:g} seconds are made at once."
            )
        return motion

    def check_file(self, path: str | os.PathLike) -> Path:
        """Check the size of an image or a video.

        Raises:
            MediaError: If it is missing or too large.
        """
        return self._check_bytes(path, max(self.image_bytes, self.video_bytes), "files")

    @staticmethod
    def _check_bytes(path: str | os.PathLike, most: int, kind: str) -> Path:
        path = input_path(path)
        size = path.stat().st_size
        if size > most:
            raise MediaError(
                f"'{path.name}' has {size / MEGA:.0f} MB: {kind} of at most {most // MEGA} MB are accepted."
            )
        return path
