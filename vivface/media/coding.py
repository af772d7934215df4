"""Which encoder writes which file, and what a quality means to it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import av

from vivface.errors import BackendError, OptionError

PRESET = "veryfast"  # of x264: half of the time of "fast" or less, files as large, 0.5 of 41.8 dB lost
QUALITY = 80  # of 0 to 100: what results have where nothing is asked for
CODECS = ("auto", "h264", "av1", "vp9", "prores")
MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".webp": "webp"}
SILENT = (".webp",)  # formats without sound
_OFFERED = {  # the first one is meant by "auto"
    ".mp4": ("h264", "av1"),
    ".mov": ("h264", "prores"),
    ".mkv": ("h264", "av1", "vp9"),
    ".webm": ("vp9", "av1"),
    ".webp": ("webp",),
}
_WITH_ALPHA = {".mov": "prores", ".webm": "vp9", ".webp": "webp"}
_ENCODERS = {
    "h264": ("libx264",),
    "av1": ("libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
    "prores": ("prores_ks",),
    "webp": ("libwebp_anim",),
}


@dataclass(frozen=True)
class Coding:
    """How frames are encoded.

    Attributes:
        codec (`str`): One of `CODECS`, or "webp".
        encoder (`str`): FFmpeg's name.
        pixel_format (`str`): Of the frames.
        options (`dict[str, str]`): For the encoder.
    """

    codec: str
    encoder: str
    pixel_format: str
    options: dict[str, str]


def rate_factor(quality: float) -> float:
    """The constant rate factor of x264 for a quality: 80 is 17, 100 is 0 (lossless), 0 is 49.

    Raises:
        OptionError: If `quality` is not from 0 to 100.
    """
    if not isinstance(quality, int | float) or isinstance(quality, bool) or not 0 <= quality <= 100:
        raise OptionError(f"`quality` is {quality!r}; expected 0 to 100, {QUALITY} is the usual one.")
    return 17 + (QUALITY - quality) * (0.4 if quality < QUALITY else 0.85)


def choose_coding(
    suffix: str, codec: str = "auto", quality: float = QUALITY, *, preset: str = PRESET, alpha: bool = False
) -> Coding:
    """The encoder of a file, and its options.

    Args:
        suffix (`str`): Of the file: a key of `MUXERS`.
        codec (`str`, *optional*, defaults to "auto"): One of `CODECS`.
        quality (`float`, *optional*, defaults to 80): 0 to 100.
        preset (`str`, *optional*, defaults to "veryfast"): Speed of x264.
        alpha (`bool`, *optional*, defaults to False): Whether frames have a fourth channel, their opacity.

    Raises:
        OptionError: If the format does not take the codec, has no alpha, or a value is out of its range.
        BackendError: If this FFmpeg lacks the encoder.
    """
    crf = rate_factor(quality)
    offered = _OFFERED[suffix]
    if alpha:
        if suffix not in _WITH_ALPHA:
            raise OptionError(f"A {suffix} file has no transparency: write {' or '.join(_WITH_ALPHA)}.")
        offered = (_WITH_ALPHA[suffix],)
    chosen = offered[0] if codec == "auto" else codec
    if chosen not in offered:
        what = "with transparency " if alpha else ""
        raise OptionError(f"A {suffix} file {what}takes {' or '.join(offered)}, not {codec!r}: see --codec.")
    encoder = next((name for name in _ENCODERS[chosen] if name in av.codecs_available), None)
    if encoder is None:
        raise BackendError(f"This FFmpeg has no encoder for {chosen} ({' or '.join(_ENCODERS[chosen])}).")
    # The scales of libvpx and AV1 have 64 steps; this line gives about the same loss as x264's.
    wide = str(min(round(crf * 1.2 + 4), 63))
    options = {
        # Without B frames packets leave in the order of their times, and each is as long as its frame is shown.
        "libx264": {"crf": str(round(crf, 2)), "preset": preset, "bf": "0"},
        "libsvtav1": {"crf": wide, "preset": "8"},
        "libaom-av1": {"crf": wide, "cpu-used": "6", "row-mt": "1"},
        "libvpx-vp9": {"crf": wide, "b": "0", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": str(int(not alpha))},
        "prores_ks": {"profile": "4444" if alpha else "hq", "vendor": "apl0"},
        "libwebp_anim": {
            "lossless": str(int(quality == 100 or alpha)),
            "quality": str(round(quality)),
            "compression_level": "3",
        },
    }[encoder]
    if encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # it prints a page about itself otherwise
    formats = {"prores": ("yuv422p10le", "yuva444p10le"), "webp": ("bgra", "bgra")}
    return Coding(chosen, encoder, formats.get(chosen, ("yuv420p", "yuva420p"))[alpha], options)
