"""Images of any mode, with or without a colour profile, as opaque sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

_GRAY_MODES = ("1", "L", "LA", "La")


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image to sRGB, over white where it is transparent.

    Args:
        image (`PIL.Image.Image`): Loaded, of any mode; its profile is `info["icc_profile"]`. A broken profile, or one
            for other kinds of colours than the image has, is ignored.

    Returns:
        `PIL.Image.Image`: Of mode RGB.
    """
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        return _with_profile(Image.fromarray(to_uint8(np.asarray(image).astype(np.uint16))), profile)
    if image.mode in ("I", "F"):
        return _with_profile(Image.fromarray(_wide_gray(np.asarray(image, dtype=np.float64))), profile)
    if not image.has_transparency_data:
        return _with_profile(image, profile)
    gray = image.mode in _GRAY_MODES
    image = image.convert("RGBA")
    colours = image.getchannel("R") if gray else image.convert("RGB")
    opaque = _with_profile(colours, profile)  # colours first: white is to be white, and blends are those of sRGB
    opaque.putalpha(image.getchannel("A"))
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(opaque)
    return white.convert("RGB")


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Scale `uint16` (full range) or floating point in [0, 1] to `uint8`; `uint8` stays."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.round(array * 255.0).astype(np.uint8)


def _with_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An opaque image as RGB, through its colour profile where that is of the image's kind."""
    if not profile:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _mode_of(source.profile.xcolor_space.strip(), image.mode)
        if mode is None:
            return image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image.convert(mode), source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")


def _mode_of(space: str, mode: str) -> str | None:
    """The mode in which an image of `mode` fits a profile of the colour space `space`; `None` where it does not fit."""
    if space == "RGB":
        return None if mode in ("CMYK", "LAB") else "RGB"  # grey, palettes, YCbCr and HSV are other notations of RGB
    if space == "GRAY":
        return "L" if mode in _GRAY_MODES else None
    return "CMYK" if space == mode == "CMYK" else None


def _wide_gray(values: np.ndarray) -> np.ndarray:
    """Grey levels of 32 bits, integer or floating point, whose range is not declared: take the smallest usual one."""
    values = np.nan_to_num(values)
    top = next((top for top in (1.0, 255.0, 65535.0) if values.max() <= top), max(values.max(), 1.0))
    return np.round(np.clip(values / top, 0.0, 1.0) * 255.0).astype(np.uint8)
