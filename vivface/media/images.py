"""Reading and writing of images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vivface.errors import MediaError
from vivface.files import check_output, complete_file
from vivface.media.containers import HEAD, IMAGE_DAMAGE, input_path, is_heic, is_heic_head, open_input
from vivface.media.profiles import to_srgb, to_uint8
from vivface.media.provenance import picture_options
from vivface.media.video import VideoReader

READ_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
WRITE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 80_000_000  # 240 MB as RGB; large phone pictures have 50 million


def load_image(
    image: str | os.PathLike | Image.Image | np.ndarray | BinaryIO, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read an image as upright RGB.

    EXIF orientation is applied, colour profiles (CMYK, Display P3 ...) are converted to sRGB whatever the mode,
    transparent pixels become white, 16 bits become 8, grey becomes RGB; of an animation the first frame is taken.

    Args:
        image (`str`, `os.PathLike`, `PIL.Image.Image`, binary file, or `np.ndarray`): An array has shape
            `(height, width)` or `(height, width, 1 or 3 or 4)`: `uint8`, `uint16` (full range) or floating point in
            [0, 1]. HEIC needs the extra `heic`.
        max_pixels (`int`, *optional*, defaults to 80,000,000): Width times height beyond which an image is refused,
            before it is decoded.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`, `uint8`: RGB.

    Raises:
        MediaError: If the image is missing, damaged, cut off, too large, or of a kind that is not accepted.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        return _from_pil(image, "the image", max_pixels)
    if hasattr(image, "read"):
        name, source = repr(str(getattr(image, "name", "the image"))), image
    else:
        source = input_path(image)
        name = repr(str(source))
    try:
        with Image.open(source, formats=READ_FORMATS) as opened:
            return _from_pil(opened, name, max_pixels)
    except Image.DecompressionBombError as error:
        raise MediaError(f"Cannot read {name}: the image has more than {max_pixels} pixels.") from error
    except UnidentifiedImageError as error:
        if _is_heic(source):
            return _from_heic(source, name, max_pixels)
        if _is_video(image):
            raise MediaError(f"Cannot read {name} as an image: it is a video, and a still image is needed.") from error
        raise MediaError(
            f"Cannot read {name}: it is not an image of a known kind, so save it as PNG, JPEG or WebP."
        ) from error
    except IMAGE_DAMAGE as error:
        raise MediaError(f"Cannot read {name}: the image is damaged or cut off.") from error


def save_image(path: str | os.PathLike, image: np.ndarray, finish: Callable[[Path, Path], None] | None = None) -> None:
    """Write an RGB or RGBA image, marked as synthetic; the file appears only when it is complete.

    Args:
        path (`str` or `os.PathLike`): Ends in .png, .jpg, .jpeg or .webp.
        image (`np.ndarray` of shape `(height, width, 3)`, `uint8`): RGB; RGBA, `(height, width, 4)`, except for JPEG.
        finish (callable, *optional*): As for `VideoWriter`.

    Raises:
        MediaError: If the suffix is another one or the folder cannot be written to.
        ValueError: If `image` has another shape or type.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(f"`image` has to be a uint8 array of shape (H, W, 3) or (H, W, 4), got {_describe(image)}.")
    path = check_output(path, WRITE_SUFFIXES)
    suffix = path.suffix.lower()
    if image.shape[2] == 4 and suffix in (".jpg", ".jpeg"):
        raise MediaError(f"Cannot write {str(path)!r}: JPEG has no transparency, so write .png or .webp.")
    options = picture_options(suffix)
    if suffix != ".png":
        options["quality"] = 95
    if suffix in (".jpg", ".jpeg"):
        options["subsampling"] = 0  # full colour resolution: faces are small
    with complete_file(path) as temporary:
        try:
            Image.fromarray(image).save(temporary, **options)
        except OSError as error:
            raise MediaError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
        if finish is not None:
            finish(temporary, path)


def is_film(source: object) -> bool:
    """Whether a source is an opened video, or the path of one and of no image; animated images are images."""
    if isinstance(source, VideoReader):
        return True
    if not isinstance(source, str | os.PathLike):
        return False
    try:
        with Image.open(source, formats=READ_FORMATS):
            return False
    except Image.DecompressionBombError:
        return False
    except IMAGE_DAMAGE:
        return _is_video(source)


def _is_video(image: object) -> bool:
    if not isinstance(image, str | os.PathLike):
        return False
    try:
        open_input(input_path(image)).close()
    except MediaError:
        return False
    return True


def _is_heic(source: object) -> bool:
    if not hasattr(source, "read"):
        return is_heic(source)
    source.seek(0)
    return is_heic_head(source.read(HEAD))


def _from_heic(source: Path | BinaryIO, name: str, max_pixels: int) -> np.ndarray:
    try:
        import pi_heif  # the extra `heic`
    except ImportError as error:
        raise MediaError(
            f"Cannot read {name}: it is a HEIC image, so save it as JPEG or PNG, or install the reader of HEIC: "
            "pip install 'vivface[heic]'."
        ) from error
    try:
        if hasattr(source, "read"):
            source.seek(0)
        opened = pi_heif.open_heif(source, convert_hdr_to_8bit=True)
        _check_size(opened.size, name, max_pixels)
        image = opened.to_pillow()
    except IMAGE_DAMAGE as error:
        raise MediaError(f"Cannot read {name}: the HEIC image is damaged or cut off.") from error
    return _from_pil(image, name, max_pixels)


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise MediaError(
            f"Cannot read {name}: the image has {width} x {height} pixels, and at most {max_pixels} are accepted, "
            "so make it smaller."
        )


def _from_pil(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    _check_size(image.size, name, max_pixels)
    try:
        image.load()
        return np.array(to_srgb(_turned_upright(image)))
    except IMAGE_DAMAGE as error:
        raise MediaError(f"Cannot read {name}: the image is damaged or cut off.") from error


def _turned_upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except IMAGE_DAMAGE:  # of the EXIF data alone
        return image


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise MediaError(f"Cannot use an array as an image: expected (H, W, 3), got {_describe(array)}.")
    if array.dtype not in (np.uint8, np.uint16) and not _is_unit_interval(array):
        raise MediaError(
            f"Cannot use an array as an image: expected uint8, uint16 or floats in [0, 1], got {_describe(array)}."
        )
    array = to_uint8(array)
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.float32) / 255.0
        array = np.round(array[:, :, :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def _is_unit_interval(array: np.ndarray) -> bool:
    floating = np.issubdtype(array.dtype, np.floating)
    return bool(floating and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1)


def _describe(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    span = f" in [{value.min()}, {value.max()}]" if value.size else ""
    return f"{value.dtype} of shape {value.shape}{span}"
