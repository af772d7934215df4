"""How files that users give are opened: a fixed list of containers, and nothing but the file itself.

FFmpeg's playlist formats (HLS, DASH, concat ...) read other files and the network. They, its still-image formats and
its scripts are not on the list, so a playlist that was renamed to .mp4 is refused before anything in it is read.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import av
from av.container import InputContainer
from PIL import Image

from vivface.errors import MediaError

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "gif", "apng", "mpegts", "mpeg", "flv", "asf", "ogg")
FORMATS_IN_WORDS = "mp4, mov, mkv, webm, avi, gif, ts, mpg, flv, wmv or ogg"
_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
_STILL_BRANDS = ("heic", "heix", "heim", "heis", "mif1", "avif")  # still images in an MP4-like box file
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
HEAD = 256  # bytes that name a file's kind
_STILL_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF")

# What Pillow raises on damaged images, depending on the format and the place of the damage.
IMAGE_DAMAGE = (
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
    """Check that `path` names a file that is not empty.

    Args:
        path (`str` or `os.PathLike`): A file that a user gave.

    Returns:
        `pathlib.Path`: `path`.

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

    Args:
        path (`pathlib.Path`): The file.

    Returns:
        `av.container.InputContainer`: Opened; the caller closes it.

    Raises:
        MediaError: If the file is none of `FORMATS`, or is damaged so that it cannot be opened.
    """
    name = repr(str(path))
    try:
        # The "file:" prefix keeps names such as "concat:a" or "http://b" from being anything but names.
        container = av.open(f"file:{os.path.abspath(path)}", options=_OPTIONS, metadata_errors="replace")
    except av.error.FFmpegError as error:
        if is_heic(path):
            raise _still_image(name, "a HEIC image") from error
        if _is_still(path):
            raise _still_image(name, "a still image") from error
        if isinstance(error, av.error.ArgumentError):  # a known format that is not on the list
            raise MediaError(
                f"Cannot read {name}: it is a playlist or another format that is not accepted, "
                f"so convert it to {FORMATS_IN_WORDS}."
            ) from error
        raise MediaError(
            f"Cannot read {name}: it is not a video ({FORMATS_IN_WORDS}), or it was cut off and lacks its index."
        ) from error
    if container.metadata.get("major_brand", "").strip() in _STILL_BRANDS:
        container.close()
        raise _still_image(name, "a HEIC image" if is_heic(path) else "a still image")
    return container


def is_heic(path: Path) -> bool:
    """Whether a file declares itself, in its first bytes, as HEIC: HEVC images in a HEIF container, as phones write."""
    try:
        with open(path, "rb") as file:
            return is_heic_head(file.read(HEAD))
    except OSError:
        return False


def is_heic_head(head: bytes) -> bool:
    """As `is_heic`, of the first `HEAD` bytes of a file."""
    if len(head) < 12 or head[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
    return brands[0] in (*_HEIC_BRANDS, b"mif1", b"msf1") and any(brand in _HEIC_BRANDS for brand in brands)


def _still_image(name: str, kind: str) -> MediaError:
    return MediaError(f"Cannot read {name} as a video: it is {kind}, and a video is needed.")


def _is_still(path: Path) -> bool:
    try:
        with Image.open(path, formats=_STILL_FORMATS):
            return True
    except Image.DecompressionBombError:
        return True
    except IMAGE_DAMAGE:
        return False
