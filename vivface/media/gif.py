"""Export of a finished video as an animated GIF.

moviepy takes a second to import, which is why this module is not imported with the package.
"""

from __future__ import annotations

import os

from moviepy import VideoFileClip

from vivface.errors import MediaError, OptionError
from vivface.files import check_output, complete_file
from vivface.media.provenance import mark_gif
from vivface.media.video import VideoReader


def export_gif(
    video: str | os.PathLike, path: str | os.PathLike, fps: float | None = None, height: int | None = None
) -> None:
    """Convert a finished video (one that `VideoWriter` wrote) to an endless animated GIF, marked as synthetic.

    GIF has 256 colours and steps of 1/100 s; keep it short and small.

    Args:
        video: An upright video file.
        path: Ends in .gif.
        fps: Frames per second; by default the video's, at most 25.
        height: Of the frames, in pixels; by default the video's.

    Raises:
        MediaError: If `video` cannot be read or `path` cannot be written.
        OptionError: If `fps` or `height` is not positive.
    """
    if (fps is not None and fps <= 0) or (height is not None and height <= 0):
        raise OptionError(f"`fps` ({fps}) and `height` ({height}) have to be more than 0.")
    path = check_output(path, (".gif",))
    with VideoReader(video) as reader:  # refuses what moviepy must not open
        fps = fps or min(float(reader.fps), 25.0)
        source = reader.path
    with complete_file(path) as temporary:
        try:
            with VideoFileClip(str(source), audio=False) as clip:
                sized = clip if height is None else clip.resized(height=height)
                sized.write_gif(str(temporary), fps=fps, loop=0, logger=None)
        except OSError as error:
            raise MediaError(f"Cannot write {str(path)!r}: {error.strerror or error}.") from error
        mark_gif(temporary)
