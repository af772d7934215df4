"""Streaming encoding (H.264, AV1, VP9, ProRes, animated WebP) with the driving clip's time stamps and audio.

A complete file appears, or none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.codec.context import Flags as CodecFlags

from vivface.errors import MediaError
from vivface.files import check_output, complete_file
from vivface.media.audio import AudioTrack, silence_of
from vivface.media.coding import MUXERS, PRESET, QUALITY, SILENT, choose_coding
from vivface.media.color import FrameEncoder
from vivface.media.containers import input_path
from vivface.media.provenance import append_xmp_box, mark_webp, video_tags
from vivface.media.scheduling import open_encoder

WRITE_SUFFIXES = tuple(MUXERS)
_ISO = (".mp4", ".mov")  # box files: with edit lists and a box for XMP
Finish = Callable[[Path, Path], None]
_COARSEST_TIME_BASE = Fraction(1, 10_000)  # seconds, where none is given
_FINEST_TIME_BASE = Fraction(1, 10_000_000)  # MP4 counts a frame's duration in 31 bits: here up to 214 s


class VideoWriter:
    """Write frames as they come: by default H.264, yuv420p, BT.709, index in front, marked as synthetic.

    Use it as a context manager. The file appears at `path` when the block ends without an exception; otherwise
    nothing is left behind.

    Args:
        path (`str` or `os.PathLike`): Ends in .mp4, .mov, .mkv, .webm or .webp (animated, without sound). All but the
            first two round time stamps to milliseconds.
        size (`tuple[int, int]`): Width and height of the images, in pixels. Odd ones grow by one pixel in the file.
        fps (`Fraction`): Frames per second: the rate that is declared, the step of frames written without `time`, and
            the duration of the last frame when none is given.
        time_base (`Fraction`, *optional*): Seconds per unit of the time stamps, such as `VideoReader.time_base`; by
            default a fraction of 1 / fps. Times that are multiples of it are kept exactly.
        audio_from (`str` or `os.PathLike`, *optional*): A file whose audio is taken: AAC is copied untouched, and
            Matroska takes any codec; all else is re-encoded as AAC, which is what players expect in .mp4 and .mov, or
            as Opus in .webm.
        audio_start (`float`, *optional*, defaults to 0): Seconds of that file that become time 0, such as
            `VideoReader.start`.
        audio_duration (`float`, *optional*): Seconds of audio to take; by default all the rest.
        crf (`float`, *optional*): Constant rate factor of x264, 0 (lossless) to 51; lower is better and larger. By
            default as `quality` says.
        preset (`str`, *optional*, defaults to "veryfast"): Speed of x264, "ultrafast" to "veryslow".
        codec (`str`, *optional*, defaults to "auto"): "h264", "av1", "vp9" or "prores", if the format takes it; see
            `vivface.media.coding`.
        quality (`float`, *optional*, defaults to 80): 0 to 100, lossless in H.264 and WebP.
        alpha (`bool`, *optional*, defaults to False): Whether images have a fourth channel, their opacity, which .mov
            (ProRes 4444), .webm (VP9) and .webp (then lossless) keep.
        metadata (`dict[str, str]`, *optional*): More tags of the container, such as `{"title": "..."}`.
        finish (callable `(pathlib.Path, pathlib.Path) -> None`, *optional*): Called with the finished file under its
            temporary name, which it may replace, and with the name that it will get; such as `Stamp.finish`.

    Attributes:
        frames (`int`): Frames written so far.
        warnings (`list[str]`): What happened to the audio; complete at the end.

    Raises:
        MediaError: If `path` cannot be written (before any work), `audio_from` cannot be read or is `path` itself,
            the disk is full, or no frame was written.
        OptionError: If the format does not take the codec or transparency, or `quality` is out of its range.
        BackendError: If this FFmpeg lacks the encoder.

    Example:

        with VideoReader("clip.mp4") as video:
            with VideoWriter("out.mp4", video.size, video.fps, video.time_base, audio_from="clip.mp4") as output:
                for frame in video:
                    output.write(frame.image, frame.time)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        size: tuple[int, int],
        fps: Fraction | int,
        time_base: Fraction | None = None,
        audio_from: str | os.PathLike | None = None,
        *,
        audio_start: float | Fraction = 0,
        audio_duration: float | Fraction | None = None,
        crf: float | None = None,
        preset: str = PRESET,
        codec: str = "auto",
        quality: float = QUALITY,
        alpha: bool = False,
        metadata: dict[str, str] | None = None,
        finish: Finish | None = None,
    ) -> None:
        self.path = check_output(path, WRITE_SUFFIXES)
        self.size = size
        self.fps = Fraction(fps).limit_denominator(100_000)  # a float would give numbers that no file can hold
        self.time_base = _time_base(self.fps, time_base)
        self.frames = 0
        self.warnings: list[str] = []
        self._audio_from = None if audio_from is None else input_path(audio_from)
        if self._audio_from is not None and self.path.exists() and self.path.samefile(self._audio_from):
            raise MediaError(
                f"Cannot write {str(path)!r}: the audio is read from this very file, so give another name."
            )
        self._audio_part = (Fraction(audio_start), None if audio_duration is None else Fraction(audio_duration))
        self._suffix = self.path.suffix.lower()
        self._coding = choose_coding(self._suffix, codec, quality, preset=preset, alpha=alpha)
        if crf is not None and self._coding.codec == "h264":
            self._coding.options["crf"] = str(crf)
        self._channels = 4 if alpha else 3
        self._shown: dict[int, int] = {}  # how long the frames are shown that are in the encoder, by their times
        self._metadata = metadata or {}
        self._finishing = finish
        self._encoder = FrameEncoder(self._coding.pixel_format)
        self._held: av.VideoFrame | None = None  # the last frame: how long it is shown is known with the next one
        self._last_time: Fraction | None = None
        self._last_duration: Fraction | None = None

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            self._temporary = stack.enter_context(complete_file(self.path))
            with self._system_errors():
                self._output = av.open(
                    f"file:{os.path.abspath(self._temporary)}",
                    "w",
                    format=MUXERS[self._suffix],
                    options=self._muxer_options(),
                )
                stack.callback(self._abandon)
                self._output.metadata.update({**self._metadata, **video_tags()})
                self._stream = self._video_stream()
                self._audio = None
                if self._audio_from is not None and self._suffix in SILENT:
                    self.warnings += silence_of(self._audio_from, "an animated WebP")
                elif self._audio_from is not None:
                    self._audio = AudioTrack(self._audio_from, self._output, self._suffix, *self._audio_part)
                    self.warnings = self._audio.warnings
                    stack.callback(self._audio.close)
            self._cleanup = stack.pop_all()
        return self

    def write(self, image: np.ndarray, time: Fraction | None = None, duration: Fraction | None = None) -> None:
        """Append a frame.

        Args:
            image (`np.ndarray` of shape `(height, width, 3)`, `uint8`): RGB, as large as `size` says; with `alpha`
                `(height, width, 4)`, RGBA.
            time (`Fraction`, *optional*): Seconds at which it is shown, later than the frame before; by default one
                step of `fps` later. The first frame is shown from 0 on in any case, so that no player begins black.
            duration (`Fraction`, *optional*): Seconds for which it is shown; only the last frame's matters, the others
                end with the next.

        Raises:
            ValueError: If `image` has another shape or type, or `time` does not increase.
            MediaError: If the disk is full.
        """
        width, height = self.size
        if (
            not isinstance(image, np.ndarray)
            or image.dtype != np.uint8
            or image.shape != (height, width, self._channels)
        ):
            got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            shape = (height, width, self._channels)
            raise ValueError(f"`image` has to be a uint8 array of shape {shape}, got {got}.")
        if time is None:
            time = Fraction(0) if self._last_time is None else self._last_time + 1 / self.fps
        if self._last_time is not None and time <= self._last_time:
            raise ValueError(f"`time` has to increase from frame to frame, got {time} after {self._last_time}.")
        frame = self._encoder(image)
        frame.time_base = self.time_base
        frame.pts = 0 if self._held is None else round(Fraction(time) / self.time_base)
        if self._held is not None:
            frame.pts = max(frame.pts, self._held.pts + 1)
            self._encode_held(frame.pts - self._held.pts)
        self._held, self._last_time, self._last_duration = frame, Fraction(time), duration
        self.frames += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._cleanup.__exit__(kind, error, trace)
            return
        with self._cleanup:
            self._finish()

    def _muxer_options(self) -> dict[str, str]:
        if self._suffix not in _ISO:
            return {"loop": "0"} if self._suffix == ".webp" else {}
        # The clock of the edit lists, which hold where the audio starts, is in milliseconds unless told otherwise.
        return {"movflags": "+faststart", "movie_timescale": str(self.time_base.denominator)}

    def _video_stream(self) -> av.VideoStream:
        width, height = self.size
        stream = self._output.add_stream(self._coding.encoder, rate=self.fps, options=self._coding.options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = self._coding.pixel_format
        stream.codec_context.time_base = self.time_base
        stream.codec_context.flags |= CodecFlags.frame_duration  # packets get the frames' durations
        if self._suffix != ".webp":
            self._encoder.tag(stream.codec_context)
        with self._system_errors():
            open_encoder(stream.codec_context)
        return stream

    def _encode_held(self, ticks: int) -> None:
        """Encode the last frame, which is shown for `ticks` of the time base, and the audio up to it."""
        self._held.duration = self._shown[self._held.pts] = ticks
        with self._system_errors():
            if self._audio is not None:
                self._audio.mux_until(self._held.pts * self.time_base)
            self._mux(self._stream.encode(self._held))

    def _mux(self, packets: list[av.Packet]) -> None:
        """Write packets, as long as their frames are shown: not every encoder hands that on."""
        for packet in packets:
            packet.duration = self._shown.pop(packet.pts, packet.duration)
            self._output.mux(packet)

    def _finish(self) -> None:
        if self._held is None:
            raise MediaError(f"Cannot write {str(self.path)!r}: there was no frame to write.")
        last = 1 / self.fps if self._last_duration is None else self._last_duration
        ticks = max(round(last / self.time_base), 1)
        self._encode_held(ticks)
        with self._system_errors():
            self._mux(self._stream.encode(None))
            if self._audio is not None:
                self._audio.mux_until(math.inf)
            self._output.close()
            if self._suffix in _ISO:  # elsewhere the tag is all
                append_xmp_box(self._temporary)
            elif self._suffix == ".webp":
                mark_webp(self._temporary, round(ticks * self.time_base * 1000))
        if self._finishing is not None:
            self._finishing(self._temporary, self.path)

    def _abandon(self) -> None:
        with suppress(Exception):  # closing a half-written file fails in many ways, and it is removed anyway
            self._output.close()

    @contextmanager
    def _system_errors(self) -> Iterator[None]:
        """What the operating system (a full disk ...) or FFmpeg refuses, in one sentence."""
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            raise MediaError(f"Cannot write {str(self.path)!r}: {error.strerror or error}.") from error


def _time_base(fps: Fraction, given: Fraction | None) -> Fraction:
    base = Fraction(1, fps.numerator) if given is None else Fraction(given)
    while given is None and base > _COARSEST_TIME_BASE:
        base /= 2
    return max(base, _FINEST_TIME_BASE)
