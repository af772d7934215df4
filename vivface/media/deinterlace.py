"""Interlaced clips as whole frames: one frame for each coded frame, at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
from av.video.stream import VideoStream

_TOP_FIRST, _BOTTOM_FIRST = (2, 4), (3, 5)  # AVFieldOrder: as coded (tt, bb), and with swapped storage (tb, bt)


def deinterlaced(frames: Iterable[av.VideoFrame], stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Interpolate the lines that one of two fields misses (bwdif), from the first interlaced frame on.

    Progressive clips pass untouched. Within an interlaced clip, frames that are marked as progressive stay as they are.

    Args:
        frames (iterable of `av.VideoFrame`): Decoded, in the order in which they are shown.
        stream (`av.video.stream.VideoStream`): Theirs; its field order counts for codecs that do not mark frames.

    Returns:
        iterator of `av.VideoFrame`: As many, with the same time stamps.
    """
    field_order = stream.codec_context.field_order
    declared = field_order in _TOP_FIRST + _BOTTOM_FIRST
    graph: _Graph | None = None
    for frame in frames:
        if graph is None and not (frame.interlaced_frame or declared):
            yield frame
            continue
        if graph is not None and not graph.takes(frame):
            yield from graph.finish()
            graph = None
        if graph is None:
            marked = frame.interlaced_frame
            graph = _Graph(frame, stream, "auto" if marked else ("tff" if field_order in _TOP_FIRST else "bff"), marked)
        yield from graph.add(frame)
    if graph is not None:
        yield from graph.finish()


class _Graph:
    """A filter for frames of one size and format; it gives each frame back one frame later."""

    def __init__(self, frame: av.VideoFrame, stream: VideoStream, parity: str, marked: bool) -> None:
        self._kind = (frame.width, frame.height, frame.format.name)
        self._stamps: list[tuple[int | None, int]] = []  # of the frames inside; the filter's own count is dropped
        self._time_base = frame.time_base
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base
        )
        filters = self._graph.add("bwdif", f"mode=send_frame:parity={parity}:deint={'interlaced' if marked else 'all'}")
        self._graph.link_nodes(source, filters, self._graph.add("buffersink")).configure()

    def takes(self, frame: av.VideoFrame) -> bool:
        return self._kind == (frame.width, frame.height, frame.format.name)

    def add(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        self._stamps.append((frame.pts, frame.duration))
        self._graph.vpush(frame)
        yield from self._ready()

    def finish(self) -> Iterator[av.VideoFrame]:
        self._graph.vpush(None)
        yield from self._ready()

    def _ready(self) -> Iterator[av.VideoFrame]:
        while self._stamps:
            try:
                frame = self._graph.vpull()
            except (BlockingIOError, EOFError):  # wants the next frame, or has given all
                return
            frame.pts, frame.duration = self._stamps.pop(0)
            frame.time_base = self._time_base
            yield frame
