"""Reading and writing of images and videos.

Images are `uint8` arrays of shape `(height, width, 3)`, RGB, upright. Times are exact: `Fraction` seconds.
`vivface.media.gif` is imported only when a GIF is written, as moviepy takes a second to import.
"""

from vivface.files import check_output
from vivface.media.images import load_image, save_image
from vivface.media.output import check_film, open_writer
from vivface.media.provenance import is_marked_synthetic
from vivface.media.side_by_side import side_by_side
from vivface.media.video import VideoFrame, VideoReader
from vivface.media.writer import VideoWriter

__all__ = [
    "VideoFrame",
    "VideoReader",
    "VideoWriter",
    "check_film",
    "check_output",
    "is_marked_synthetic",
    "load_image",
    "open_writer",
    "save_image",
    "side_by_side",
]
