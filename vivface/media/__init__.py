"""Reading and writing of pictures and videos.

Pictures are `uint8` arrays of shape (height, width, 3), RGB, upright. Times are exact: `Fraction` seconds.
GIF export lives in `vivface.media.gif` and is imported only by those who need it (moviepy is slow to import).
"""

from vivface.files import check_output
from vivface.media.images import load_image, save_image
from vivface.media.provenance import is_marked_synthetic
from vivface.media.side_by_side import side_by_side
from vivface.media.video import VideoFrame, VideoReader
from vivface.media.writer import VideoWriter

__all__ = [
    "VideoFrame",
    "VideoReader",
    "VideoWriter",
    "check_output",
    "is_marked_synthetic",
    "load_image",
    "save_image",
    "side_by_side",
]
