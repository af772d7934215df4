"""How files that users give are opened: a fixed list of containers, and nothing but the file itself.

FFmpeg's playlist formats (HLS, DASH, concat ...) read other files and the network. They, its picture formats and
its scripts are not on the list, so a playlist that was renamed to .mp4 is refused before anything in it is read.
"""

from __future__ import annotations

import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Stream
from PIL import Image

from vivface.errors import MediaError

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "gif", "apng", "mpegts", "mpeg", "flv", "asf", "ogg")
FORMATS_IN_WORDS = "mp4, mov, mkv, webm, avi, gif, ts, mpg, flv, wmv or ogg"
_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
_INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")  # elsewhere a seek may land behind the target
_PICTURE_BRANDS = ("heic", "heix", "heim", "heis", "mif1", "avif")  # pictures that live in an MP4-like box file

# What Pillow raises on damaged pictures, depending on the format and the place of the damage.
PICTURE_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def input_path(path: str | os.PathLike) -> Path:
    """Check that `path` names a file with something in it.

    Raises:
        MediaError: If it is missing, a folder, not a regular file, not readable, or empty.
    """
    path = Path(path)
    name = repr(str(path))
    try:
        if not path.exists():
            raise MediaError(f"Cannot read {name}: there is no such file.")
        if path.is_dir():
            raise MediaError(f"Cannot read {name}: it is a folder, so give the name of a file in it.")
        if not path.is_file():
            raise MediaError(f"Cannot read {name}: it is not a regular file.")
        if path.stat().st_size == 0:
            raise MediaError(f"Cannot read {name}: the file is empty.")
        with open(path, "rb"):
            pass
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise MediaError(f"Cannot read {name}: {getattr(error, 'strerror', None) or error}.") from error
    return path


def open_input(path: Path) -> InputContainer:
    """Open a video file for reading.

    Raises:
        MediaError: If the file is none of `FORMATS`, or is damaged so that it cannot be opened.
    """
    name = repr(str(path))
    try:
        # The "file:" prefix keeps names such as "concat:a" or "http://b" from being anything but names.
        container = av.open(f"file:{os.path.abspath(path)}", options=_OPTIONS, metadata_errors="replace")
    except av.error.FFmpegError as error:
        if _is_picture(path):
            raise MediaError(f"Cannot read {name} as a video: it is a still picture, and a video is needed.") from error
        if isinstance(error, av.error.ArgumentError):  # a known format that is not on the list
            raise MediaError(
                f"Cannot read {name}: it is a playlist or another format that is not accepted, "
                f"so convert it to {FORMATS_IN_WORDS}."
            ) from error
        raise MediaError(
            f"Cannot read {name}: it is not a video ({FORMATS_IN_WORDS}), or it was cut off and lacks its index."
        ) from error
    if container.metadata.get("major_brand", "").strip() in _PICTURE_BRANDS:
        container.close()
        raise MediaError(f"Cannot read {name} as a video: it is a still picture, and a video is needed.")
    return container


def clock_origin(container: InputContainer) -> Fraction:
    """The time, in seconds, at which the clock of a file starts.

    Transport and program streams start anywhere; all other containers start at 0, and a track that starts later
    does so on purpose (to be in sync with another).
    """
    if container.format.name not in ("mpegts", "mpeg"):
        return Fraction(0)
    starts = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
    return min(starts, default=Fraction(0))


def seek_before(container: InputContainer, stream: Stream, time: Fraction) -> None:
    """Go to a key frame (or packet) of `stream` that lies before `time` seconds, or stay at the start of the file."""
    if time > 0 and container.format.name in _INDEXED:
        container.seek(int((time + clock_origin(container)) / stream.time_base), stream=stream)


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF")):
            return True
    except Image.DecompressionBombError:
        return True
    except PICTURE_DAMAGE:
        return False
