"""Conversion between coded video frames and RGB arrays, without a colour shift."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from vivface.media.gamut import to_bt709, wide_gamut

# AVFrame.colorspace (ITU-T H.273) -> the matrix that FFmpeg's scaler knows
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_HD_LINES = 720  # an untagged frame of at least this height is BT.709, a smaller one BT.601, as players assume
_DECODING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_ENCODING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


class FrameDecoder:
    """Turn decoded frames of any pixel format into upright RGB arrays; one instance for one video stream."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._rotation: int | None = None  # degrees, of the frame that `_steps` are taken from
        self._steps = (False, False, False)

    def __call__(self, frame: av.VideoFrame, pixel_aspect: Fraction) -> np.ndarray:
        """Convert one frame; matrix, range, transfer and primaries are those of its tags.

        Args:
            frame (`av.VideoFrame`): As decoded, with its display matrix.
            pixel_aspect (`Fraction`): Width of a stored pixel over its height; the result has square pixels.

        Returns:
            `np.ndarray` of shape `(height, width, 3)`, `uint8`: RGB of BT.709 primaries; HDR is tone-mapped.
        """
        transparent = frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
        wide = wide_gamut(frame.color_primaries, frame.color_trc, frame.colorspace)
        if wide is not None:
            image = to_bt709(self._rgb(frame, pixel_aspect, "rgb48le"), *wide)
        elif transparent:
            image = _over_white(self._rgb(frame, pixel_aspect, "rgba"))
        else:
            image = self._rgb(frame, pixel_aspect, "rgb24")
        return np.ascontiguousarray(self._upright(image, frame))

    def _rgb(self, frame: av.VideoFrame, pixel_aspect: Fraction, layout: str) -> np.ndarray:
        """The frame as RGB in the pixel format `layout`, with square pixels."""
        full_range = frame.color_range == ColorRange.JPEG or (
            frame.color_range == ColorRange.UNSPECIFIED and frame.format.name.startswith(("yuvj", "gray"))
        )
        coded = {}
        if not frame.format.is_rgb and not frame.format.has_palette:
            untagged = Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
            coded["src_colorspace"] = _MATRICES.get(frame.colorspace, untagged)
            coded["src_color_range"] = ColorRange.JPEG if full_range else ColorRange.MPEG
        return self._reformatter.reformat(
            frame,
            width=max(round(frame.width * pixel_aspect), 1),
            format=layout,
            dst_color_range=ColorRange.JPEG,
            interpolation=_DECODING,
            threads=1,
            **coded,
        ).to_ndarray()

    def _upright(self, image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        if frame.rotation != self._rotation:
            # Asked for once: a frame whose side data was looked at waits for the garbage collector.
            self._rotation, self._steps = frame.rotation, _turn(frame)
        transpose, mirror_x, mirror_y = self._steps
        if transpose:
            image = image.swapaxes(0, 1)
        return image[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]


class FrameEncoder:
    """Turn RGB or RGBA arrays into frames; odd sides grow by one repeated row or column.

    Args:
        pixel_format (`str`, *optional*, defaults to "yuv420p"): Of the frames: BT.709 in limited range, or "bgra".
    """

    def __init__(self, pixel_format: str = "yuv420p") -> None:
        self._reformatter = VideoReformatter()
        self._format = pixel_format

    def __call__(self, image: np.ndarray) -> av.VideoFrame:
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgba" if image.shape[2] == 4 else "rgb24"),
            format=self._format,
            src_color_range=ColorRange.JPEG,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=_ENCODING,
            threads=1,
        )
        frame.color_primaries = ColorPrimaries.BT709
        frame.color_trc = ColorTrc.BT709
        return frame

    @staticmethod
    def tag(codec: av.VideoCodecContext) -> None:
        """Write into the stream what the frames are, so that every player uses the same matrix and range."""
        codec.colorspace = 1  # AVCOL_SPC_BT709
        codec.color_range = ColorRange.MPEG
        codec.color_primaries = ColorPrimaries.BT709
        codec.color_trc = ColorTrc.BT709


def _over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[:, :, 3:].astype(np.uint16)  # (H, W, 1)
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """What makes a frame upright: (transpose, then mirror left-right, then mirror top-bottom).

    Its display matrix maps stored (x, y) to shown (a x + c y, b x + d y), y downwards. Quarter turns and mirroring
    are understood; other angles are left alone.
    """
    data = next((bytes(part) for part in frame.side_data if part.type.name == "DISPLAYMATRIX"), None)
    if data is None:
        return False, False, False
    (a, b, _), (c, d, _), _ = np.sign(np.frombuffer(data, "<i4").reshape(3, 3)).tolist()
    if a == 0 and d == 0 and b and c:  # shown x comes from stored y and the reverse
        return True, c < 0, b < 0
    if b == 0 and c == 0 and a and d:
        return False, a < 0, d < 0
    return False, False, False
