"""The audio of the driving clip: its packets are copied untouched where players expect them, else re-encoded.

AAC is what players expect in MP4 and MOV, Opus in WebM.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from vivface.media.containers import open_input
from vivface.media.seeking import seek_before, seek_targets
from vivface.media.tracks import clock_origin

# What browsers and QuickTime both play in a container; Matroska is for players that play whatever FFmpeg can name.
_COPIED = {".mp4": {"aac"}, ".mov": {"aac"}, ".mkv": None, ".webm": {"opus", "vorbis"}}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_BIT_RATE = 160_000


def best_audio(container: InputContainer) -> AudioStream | None:
    """The audio track to take: one with a known codec, by preference the default one, then FFmpeg's choice.

    Returns:
        `av.audio.stream.AudioStream`: `None` where no track has a known codec.
    """
    best = container.streams.best("audio")

    def rank(stream: AudioStream) -> tuple[bool, bool, int]:
        return not stream.disposition & Disposition.default, stream is not best, stream.index

    return min(
        (stream for stream in container.streams.audio if stream.codec_context is not None), key=rank, default=None
    )


class AudioTrack:
    """Feed one audio track into `output`, in step with the video.

    Args:
        path (`pathlib.Path`): The file whose best audio track is taken.
        output (`av.container.OutputContainer`): Opened for writing; nothing was written yet.
        suffix (`str`): Its suffix: ".mp4", ".mov", ".mkv" or ".webm".
        start (`Fraction`): Seconds from the start of the file's clock that become time 0.
        duration (`Fraction`, *optional*): Seconds to take from there; `None` takes all the rest.

    Attributes:
        warnings (`list[str]`): Why the audio is missing, incomplete or re-encoded.

    Raises:
        MediaError: If the file cannot be opened. Without an audio track there is no error and no audio.
    """

    def __init__(
        self, path: Path, output: OutputContainer, suffix: str, start: Fraction, duration: Fraction | None
    ) -> None:
        self.warnings: list[str] = []
        self._name = path.name
        self._output = output
        self._end = math.inf if duration is None else duration
        self._may_start_early = suffix in (".mp4", ".mov")  # an edit list hides what lies before time 0
        opus = suffix == ".webm"
        self._codec, self._rates = ("libopus", _OPUS_RATES) if opus else ("aac", _AAC_RATES)
        self._packets: Iterator[av.Packet] = iter(())
        self._next: av.Packet | None = None
        stream = self._open(path, start)
        if stream is None:
            return
        codecs, codec = _COPIED[suffix], stream.codec_context.codec.canonical_name
        if codecs is None or codec in codecs:
            self._packets = self._copied(stream)
        else:
            words = (
                f"WebM takes no {codec} audio"
                if opus
                else f"many players do not play its audio ({codec}) in {suffix[1:]}"
            )
            self._warn(f"{words}, so it was re-encoded as {'Opus' if opus else 'AAC'}")
            self._packets = self._transcoded(stream)
        self._next = next(self._packets, None)

    def mux_until(self, time: Fraction | float) -> None:
        """Write the packets that begin at `time` (seconds) or before."""
        while self._next is not None and self._next.pts * self._next.time_base <= time:
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the file that is read."""
        self._input.close()

    def _open(self, path: Path, start: Fraction) -> AudioStream | None:
        """Open the file so that the next packet is the one at `start` or lies before it."""
        for target in seek_targets(start):
            self._input = open_input(path)
            stream = best_audio(self._input)
            if stream is None:
                if self._input.streams.audio:
                    self._warn("its audio codec is not supported, so the result has no audio")
                return None
            self._shift = clock_origin(self._input) + start
            if target is None:
                self._demuxed = self._demux(stream)
                return stream
            if seek_before(self._input, stream, target):
                packets = self._demux(stream)
                first = next(packets, None)
                if first is not None and first.pts is not None and first.pts * first.time_base <= self._shift:
                    self._demuxed = chain([first], packets)
                    return stream
            self._input.close()
        return None

    def _copied(self, stream: AudioStream) -> Iterator[av.Packet]:
        base = Fraction(stream.time_base)
        shift = round(self._shift / base)
        target = last_dts = None
        for packet in self._demuxed:
            if packet.pts is None or packet.dts is None or not packet.size:  # the last packet is empty
                continue
            packet.pts -= shift
            packet.dts -= shift
            time, length = packet.pts * base, (packet.duration or 0) * base
            # One packet before the cut lets the decoder start cleanly; an uncut track keeps all it has.
            if self._shift > 0 and time + (2 if self._may_start_early else 0) * length <= 0:
                continue
            if not self._may_start_early and packet.pts < 0:
                continue
            if time >= self._end:
                return
            if last_dts is not None and packet.dts <= last_dts:
                self._warn("its audio time stamps run backwards in places, and those packets were left out")
                continue
            last_dts = packet.dts
            target = target or self._output.add_stream_from_template(stream)
            packet.stream = target
            yield packet

    def _transcoded(self, stream: AudioStream) -> Iterator[av.Packet]:
        target: AudioStream | None = None
        for frame in self._resampled(stream):
            if target is None:
                target = self._output.add_stream(self._codec, rate=frame.sample_rate)
                target.codec_context.layout = frame.layout.name
                target.codec_context.bit_rate = _BIT_RATE
            yield from target.encode(frame)
        if target is not None:
            yield from target.encode(None)
        elif not self.warnings[1:]:
            self._warn("there is no audio in the part that is used")

    def _resampled(self, stream: AudioStream) -> Iterator[av.AudioFrame]:
        """Decoded audio from time 0 to the end, without gaps: what is missing is silence."""
        graph, kind = None, None
        for frame in self._decoded():
            if frame.pts is not None:
                frame.pts -= round(self._shift / frame.time_base)
                if frame.pts * frame.time_base >= self._end:
                    break
            if kind != (frame.sample_rate, frame.format.name, frame.layout.name):
                yield from _finished(graph)
                graph = self._graph(frame, first=kind is None)
                kind = (frame.sample_rate, frame.format.name, frame.layout.name)
            graph.push(frame)
            yield from _ready(graph)
        yield from _finished(graph)

    def _graph(self, frame: av.AudioFrame, first: bool) -> av.filter.Graph:
        rate = frame.sample_rate if frame.sample_rate in self._rates else 48000
        layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
        graph = av.filter.Graph()
        nodes = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate, format=frame.format, layout=frame.layout, time_base=frame.time_base
            ),
            graph.add("aresample", f"{rate}:async=1" + (":first_pts=0" if first else "")),
            graph.add("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={layout}"),
        ]
        if self._end != math.inf:
            nodes.append(graph.add("atrim", f"end={float(self._end)}"))
        graph.link_nodes(*nodes, graph.add("abuffersink")).configure()
        return graph

    def _decoded(self) -> Iterator[av.AudioFrame]:
        for packet in self._demuxed:
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self._warn("its audio is damaged in places, and those were left out")

    def _demux(self, stream: AudioStream) -> Iterator[av.Packet]:
        packets = self._input.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self._warn("the file is damaged or cut off, so the audio ends early")
                return
            if packet is None:
                return
            yield packet

    def _warn(self, message: str) -> None:
        message = f"{self._name}: {message}"
        if message not in self.warnings:
            self.warnings.append(message)


def silence_of(path: Path, what: str) -> list[str]:
    """A warning if a file has audio that a format, in words such as "a GIF", cannot hold."""
    with open_input(path) as container:
        return [f"{path.name}: {what} has no audio; write an .mp4 to keep it"] if container.streams.audio else []


def _ready(graph: av.filter.Graph) -> Iterator[av.AudioFrame]:
    while True:
        try:
            yield graph.pull()
        except (BlockingIOError, EOFError):  # wants more, or has given all
            return


def _finished(graph: av.filter.Graph | None) -> Iterator[av.AudioFrame]:
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)
