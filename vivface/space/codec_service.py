"""The page's codec: a clip to 35 numbers a frame and back, and as the driver of another portrait."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vivface.editing.codec_basis import COMPONENTS_FILE
from vivface.errors import MediaError, OptionError
from vivface.hub.index import find_file
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.coded_video import CODED_SUFFIX, POINTS, CodedVideo
from vivface.space.jobs import Job, Update
from vivface.space.renderer import plain_names
from vivface.space.text import NO_DRIVING

if TYPE_CHECKING:
    from vivface.pipelines.base import ReenactmentPipeline
    from vivface.space.limits import Limits
    from vivface.space.service import Portrait

NO_CODED = "Encode a clip first, or choose a coded video (.vfc) that was saved here."
NOT_OFFERED = "The codec is not offered with this checkpoint."


@dataclass(frozen=True)
class CodecOutputs:
    """What a run of the codec made.

    Attributes:
        video (`Path`): The decoded or puppeteered video.
        coded (`Path`, *optional*): The `.vfc` file.
        words (`str`): What it costs, for people.
    """

    video: Path
    coded: Path | None
    words: str


def load_codec(pipeline: ReenactmentPipeline, checkpoint: str | os.PathLike) -> ExpressiveCodecPipeline | None:
    """The codec on a pipeline's own networks; None where the checkpoint holds no components."""
    if not isinstance(pipeline, VivFacePipeline) or find_file(checkpoint, COMPONENTS_FILE) is None:
        return None
    names = ("generator", "encoder", "transformer", "recognizer")
    codec = ExpressiveCodecPipeline.from_pretrained(checkpoint, **{name: getattr(pipeline, name) for name in names})
    codec.set_progress_bar_config(disable=True)
    return codec


class CodecService:
    """The codec's share of the page's work; mixed into `ReenactmentService`.

    Attributes:
        codec (`ExpressiveCodecPipeline`, *optional*): None where it is not offered.
    """

    codec: ExpressiveCodecPipeline | None
    limits: Limits
    _run: Callable[[str, Callable[[Job], Any]], Iterator[Update]]

    @property
    def bases(self) -> list[str]:
        """Bases that the checkpoint holds, the default one first."""
        if self.codec is None:
            return []
        held = {"channels": self.codec.channels, "components": self.codec.components_basis}
        own = self.codec.config.basis
        return [own, *(name for name in held if name != own and held[name] is not None), POINTS]

    def encode_clip(self, visitor: str, clip: str | None, basis: str, key_picture: bool = False) -> Iterator[Update]:
        """Encode a clip and decode it again, and tell how far it is; see `ReenactmentService.reenact`.

        Args:
            visitor (`str`): Who asks.
            clip (`str`, *optional*): Path of a video.
            basis (`str`): One of `bases`.
            key_picture (`bool`, *optional*, defaults to False): Also keep a picture of the face, which decoding moves.

        Returns:
            Iterator of `Update`: The last one carries `CodecOutputs`.

        Raises:
            VivFaceError: What a visitor can cause.
            Cancelled: If it was stopped.
        """
        codec = self._offered()
        if clip is None:
            raise OptionError(NO_DRIVING)
        if basis not in self.bases:
            raise OptionError(f"`basis` is {str(basis)[:40]!r}; expected {' or '.join(self.bases)}.")
        with plain_names(clip):
            self.limits.open_video(clip).close()  # refuses what is too large

        def work(job: Job) -> CodecOutputs:
            job.step = "Following the face"
            path, video = job.folder / f"vivface{CODED_SUFFIX}", job.folder / "vivface-decoded.mp4"
            with plain_names(clip):
                coded = codec.encode(
                    clip,
                    basis=basis,
                    duration=self.limits.seconds,
                    max_frames=self.limits.frames,
                    max_pixels=self.limits.video_pixels,
                    key_picture=key_picture,
                    on_progress=job.on_progress,
                )
            coded.save(path, sound=False)
            result = codec.decode(coded)
            result.save(video, on_progress=job.on_progress)
            return CodecOutputs(video, path, cost_words(coded, clip))

        yield from self._run(visitor, work)

    def decode_video(
        self, visitor: str, coded: str | None, portrait: Portrait | None = None, face: int = 0
    ) -> Iterator[Update]:
        """Decode a coded video, or let it move a portrait; see `encode_clip`.

        Args:
            visitor (`str`): Who asks.
            coded (`str`, *optional*): Path of a `.vfc` file.
            portrait (`Portrait`, *optional*): From `admit`; without it, the person of the clip is shown.
            face (`int`, *optional*, defaults to 0): Of the portrait.
        """
        codec = self._offered()
        if coded is None:
            raise OptionError(NO_CODED)
        with plain_names(coded):
            video = self._open_coded(coded)

        def work(job: Job) -> CodecOutputs:
            path = job.folder / "vivface-decoded.mp4"
            job.step = "Making frames"
            if portrait is None:
                result = codec.decode(video)
            else:
                self.detect_portrait(visitor, portrait.path).choose(face)
                with plain_names(portrait.path):
                    result = codec.puppeteer(portrait.path, video, face=face, on_progress=job.on_progress)
            result.save(path, on_progress=job.on_progress)
            return CodecOutputs(path, None, cost_words(video))

        yield from self._run(visitor, work)

    def _open_coded(self, path: str) -> CodedVideo:
        file, limits = Path(path), self.limits
        if file.suffix.lower() != CODED_SUFFIX:
            raise MediaError(f"'{file.name}' is no coded video: give a {CODED_SUFFIX} file that was saved here.")
        if file.stat().st_size > limits.motion_bytes:
            raise MediaError(f"'{file.name}' is too large for a coded video that can be shown here.")
        coded = CodedVideo.load(file)
        if len(coded) > limits.frames or coded.seconds > limits.seconds + 1:
            raise MediaError(f"'{file.name}' is too long: at most {limits.seconds:g} seconds are made at once.")
        return coded

    def _offered(self) -> ExpressiveCodecPipeline:
        if self.codec is None:
            raise OptionError(NOT_OFFERED)
        self.codec.use_detector(self.pipeline.backend)
        return self.codec


def cost_words(coded: CodedVideo, clip: str | None = None) -> str:
    """What a coded video costs, beside its clip if that is at hand."""
    seconds = max(float(coded.seconds), 1e-3)
    rate = coded.bytes_per_frame * len(coded) / seconds
    words = f"{len(coded)} frames, {coded.bytes_per_frame} bytes a frame: {rate:,.0f} bytes a second"
    kept = coded.basis if coded.key is None else f"{coded.basis}, key picture"
    words += f" and {coded.header_bytes:,} bytes once ({kept})."
    if clip is not None:
        own = os.path.getsize(clip) / seconds
        words += f" The clip itself: {own:,.0f} bytes a second, {own / max(rate, 1e-9):,.0f} times as many."
    return words
