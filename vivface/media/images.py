"""Reading and writing of pictures."""

from __future__ import annotations

import io
import os
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from vivface.errors import MediaError
from vivface.files import check_output, complete_file
from vivface.media.containers import IMAGE_DAMAGE, input_path, open_input
from vivface.media.provenance import picture_options

READ_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
WRITE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 80_000_000  # 240 MB as RGB; large phone pictures have 50 million


def load_image(
    image: str | os.PathLike | Image.Image | np.ndarray | BinaryIO, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Read a picture as upright RGB.

    EXIF orientation is applied, colour profiles (CMYK, Display P3 ...) are converted to sRGB, transparent parts
    become white, 16 bits become 8, grey becomes RGB; of an animation the first frame is taken.

    Args:
        image: A path, a `PIL.Image`, an open binary file, or an array of shape (H, W), (H, W, 1), (H, W, 3) or
            (H, W, 4): `uint8`, `uint16` (full range) or floating point in [0, 1].
        max_pixels: Width times height beyond which a picture is refused, before it is decoded.

    Returns:
        `np.ndarray` of shape (H, W, 3), `uint8`.

    Raises:
        MediaError: If the picture is missing, damaged, cut off, too large, or of a kind that is not accepted.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        return _from_pil(image, "the picture", max_pixels)
    if hasattr(image, "read"):
        name, source = repr(str(getattr(image, "name", "the picture"))), image
    else:
        source = input_path(image)
        name = repr(str(source))
    try:
        with Image.open(source, formats=READ_FORMATS) as opened:
            return _from_pil(opened, name, max_pixels)
    except Image.DecompressionBombError as error:
        raise MediaError(f"Cannot read {name}: the picture has more than {max_pixels} pixels.") from error
    except UnidentifiedImageError as error:
        if _is_video(image):
            raise MediaError(
                f"Cannot read {name} as a picture: it is a video, and a still picture is needed."
            ) from error
        raise MediaError(
            f"Cannot read {name}: it is not a picture of a known kind, so save it as PNG, JPEG or WebP."
        ) from error
    except IMAGE_DAMAGE as error:
        raise MediaError(f"Cannot read {name}: the picture is damaged or cut off.") from error


def save_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write an RGB picture, marked as synthetic; the file appears only when it is complete.

    Args:
        path: Ends in .png, .jpg, .jpeg or .webp.
        image: `uint8`, shape (H, W, 3).

    Raises:
        MediaError: If the ending is another one or the folder cannot be written to.
        ValueError: If `image` has another shape or type.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"`image` has to be a uint8 array of shape (H, W, 3), got {_describe(image)}.")
    path = check_output(path, WRITE_SUFFIXES)
    suffix = path.suffix.lower()
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


def _is_video(image: object) -> bool:
    if not isinstance(image, str | os.PathLike):
        return False
    try:
        open_input(input_path(image)).close()
    except MediaError:
        return False
    return True


def _from_pil(image: Image.Image, name: str, max_pixels: int) -> np.ndarray:
    width, height = image.size
    if width * height > max_pixels:
        raise MediaError(
            f"Cannot read {name}: the picture has {width} x {height} pixels, and at most {max_pixels} are accepted, "
            "so make it smaller."
        )
    try:
        image.load()
        return np.array(_to_rgb(_turned_upright(image)))
    except IMAGE_DAMAGE as error:
        raise MediaError(f"Cannot read {name}: the picture is damaged or cut off.") from error


def _turned_upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except IMAGE_DAMAGE:  # of the EXIF data alone
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_to_uint8(np.asarray(image).astype(np.uint16))).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_wide_gray(np.asarray(image, dtype=np.float64))).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        white.info = image.info
        image = white.convert("RGB")
    return _to_srgb(image)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply the embedded colour profile; a picture without one, or with a broken one, is taken as it is."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return image.convert("RGB")


def _wide_gray(values: np.ndarray) -> np.ndarray:
    """Grey levels of 32 bits, integer or floating point, whose range is not declared: take the smallest usual one."""
    values = np.nan_to_num(values)
    top = next((top for top in (1.0, 255.0, 65535.0) if values.max() <= top), max(values.max(), 1.0))
    return np.round(np.clip(values / top, 0.0, 1.0) * 255.0).astype(np.uint8)


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise MediaError(f"Cannot use an array as a picture: expected (H, W, 3), got {_describe(array)}.")
    array = _to_uint8(array)
    if array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.float32) / 255.0
        array = np.round(array[:, :, :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating) and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1:
        return np.round(array * 255.0).astype(np.uint8)
    raise MediaError(
        f"Cannot use an array as a picture: expected uint8, uint16 or floats in [0, 1], got {_describe(array)}."
    )


def _describe(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    span = f" in [{value.min()}, {value.max()}]" if value.size else ""
    return f"{value.dtype} of shape {value.shape}{span}"
