"""The sound of the driving clip: its packets are copied untouched where the container allows, else made into AAC."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer

from vivface.media.containers import open_input
from vivface.media.seeking import seek_before
from vivface.media.tracks import clock_origin

# Codecs that players expect in a container; Matroska holds whatever FFmpeg can name.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_f32le"},
    ".mkv": None,
}
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_BIT_RATE = 160_000


class AudioTrack:
    """Feed one sound track into `output`, in step with the video.

    Args:
        path: The file whose best sound track is taken.
        output: A container opened for writing to which nothing was written yet.
        suffix: Its ending: ".mp4", ".mov" or ".mkv".
        start: Seconds of the file that become time 0.
        duration: Seconds to take from there; `None` takes all the rest.

    Attributes:
        warnings (`list[str]`): Why the sound is missing, incomplete or coded anew.

    Raises:
        MediaError: If the file cannot be opened. Without a sound track there is no error and no sound.
    """

    def __init__(
        self, path: Path, output: OutputContainer, suffix: str, start: Fraction, duration: Fraction | None
    ) -> None:
        self.warnings: list[str] = []
        self._name = path.name
        self._output = output
        self._input = open_input(path)
        self._packets: Iterator[av.Packet] = iter(())
        self._next: av.Packet | None = None
        self._shift = clock_origin(self._input) + start
        self._end = math.inf if duration is None else duration
        self._may_start_early = suffix != ".mkv"  # an edit list hides what lies before time 0
        stream = self._input.streams.best("audio")
        if stream is None:
            return
        if stream.codec_context is None:
            self._warn("the sound's codec is not supported, so the result has no sound")
            return
        seek_before(self._input, stream, start)
        codecs = _COPIED[suffix]
        codec = stream.codec_context.codec.canonical_name
        if codecs is None or codec in codecs:
            self._packets = self._copied(stream)
        else:
            self._warn(f"the sound ({codec}) cannot be copied into {suffix[1:]}, so it was coded anew as AAC")
            self._packets = self._transcoded(stream)
        self._next = next(self._packets, None)

    def mux_until(self, time: Fraction | float) -> None:
        """Write the packets that begin at `time` (seconds) or before."""
        while self._next is not None and self._next.pts * self._next.time_base <= time:
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        self._input.close()

    def _copied(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        base = Fraction(stream.time_base)
        shift = round(self._shift / base)
        target = last_dts = None
        for packet in self._demuxed(stream):
            if packet.pts is None or packet.dts is None:
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
                self._warn("the sound's time stamps run backwards in places, and those packets were left out")
                continue
            last_dts = packet.dts
            target = target or self._output.add_stream_from_template(stream)
            packet.stream = target
            yield packet

    def _transcoded(self, stream: av.AudioStream) -> Iterator[av.Packet]:
        source = stream.codec_context
        target = None
        shift = round(self._shift / stream.time_base)
        for frame in self._decoded(stream):
            if frame.pts is not None:
                frame.pts -= shift
                if frame.pts < 0:
                    continue
                if frame.pts * frame.time_base >= self._end:
                    break
                target = target or self._aac_stream(source.sample_rate, source.layout.nb_channels)
                yield from target.encode(frame)
        if target is not None:
            yield from target.encode(None)

    def _aac_stream(self, rate: int, channels: int) -> av.AudioStream:
        target = self._output.add_stream("aac", rate=rate if rate in _AAC_RATES else 48000)
        target.codec_context.layout = "mono" if channels == 1 else "stereo"
        target.codec_context.bit_rate = _AAC_BIT_RATE
        return target

    def _decoded(self, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
        for packet in self._demuxed(stream, flush=True):
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                self._warn("the sound is damaged in places, and those were left out")

    def _demuxed(self, stream: av.AudioStream, flush: bool = False) -> Iterator[av.Packet]:
        packets = self._input.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError:
                self._warn("the file is damaged or cut off, so the sound ends early")
                return
            if packet is None:
                return
            if packet.size or flush:  # the last packet is empty and flushes a decoder
                yield packet

    def _warn(self, message: str) -> None:
        message = f"{self._name}: {message}"
        if message not in self.warnings:
            self.warnings.append(message)
