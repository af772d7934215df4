"""Going to a time in a file. No index is trusted: callers check where they landed, and read from the start if need be.

Use:

    for target in seek_targets(start):
        ...  # open the file
        if target is not None and not seek_before(container, stream, target):
            continue  # close it
        ...  # decode; if what comes first lies behind `start` and `target` is not None: close it, continue
"""

from __future__ import annotations

from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Stream

from vivface.media.tracks import clock_origin

_INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi")  # elsewhere a seek lands anywhere: read from the start
_FURTHER_BACK = 10  # seconds: the second attempt, where frames before a key frame belong to the one before it


def seek_targets(time: Fraction) -> list[Fraction | None]:
    """Times to seek to, in this order, to read from `time` seconds on; `None` means from the start, without a seek."""
    return [target for target in (time, time - _FURTHER_BACK) if target > 0] + [None]


def seek_before(container: InputContainer, stream: Stream, time: Fraction) -> bool:
    """Go to a key frame (or packet) of `stream` before `time`, or stay at the start of a file without an index.

    Args:
        container (`av.container.InputContainer`): Freshly opened.
        stream (`av.stream.Stream`): One of its streams.
        time (`Fraction`): Seconds from `clock_origin`.

    Returns:
        `bool`: False where libav refuses; the container has to be opened again then.
    """
    if container.format.name not in _INDEXED:
        return True
    try:
        container.seek(int((time + clock_origin(container)) / stream.time_base), stream=stream)
    except (av.error.FFmpegError, OverflowError):
        return False
    return True
