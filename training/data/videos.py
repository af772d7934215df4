"""Real videos as clips; their frames are extracted once and kept beside them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from training.data.clips import IMAGE_SUFFIXES, Clips, Move, crop_file, find_files
from training.data.quads import central_square
from vivface.errors import MediaError, OptionError
from vivface.faces.alignment import align_ffhq, crop_quad, ffhq_quad, to_crop
from vivface.files import complete_folder

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")


class VideoFolder(Clips):
    """Real videos: every video file, and every folder that directly holds images, is a clip and an identity.

    Of a video file, evenly spaced frames are decoded at first use and kept as JPEG in `.frames-SIZE` beside it, with
    `align` each beside a NumPy file of its landmarks, in fractions of the crop. Video
    files whose first frame cannot be read are left out with a warning when the list is made; those that turn out to be
    damaged later raise `MediaError` whenever they are asked for.

    Args:
        folders (`Iterable[str | Path]`): Searched with their subfolders.
        frames_per_video (`int`): Frames used of each clip.
        size (`int`): Size of the kept frames of video files, pixels.
        align (`bool`, *optional*, defaults to False): Find the face in every frame of video files and align it; else
            the frames are taken as aligned squares.

    Raises:
        OptionError: If there is no such folder or no readable clip.
    """

    def __init__(self, folders: Iterable[str | Path], frames_per_video: int, size: int, align: bool = False):
        self.frames_per_video, self.size, self.align = frames_per_video, size, align
        found = find_files(folders, (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))
        found = [p for p in found if not any(part.startswith(".frames-") for part in p.parts)]
        videos = {p for p in found if p.suffix.lower() in VIDEO_SUFFIXES}
        readable = self._readable(sorted(videos))
        self.clips = sorted(readable | {p.parent for p in found if p not in videos})
        if not self.clips:
            fault = f" that can be read (of {len(videos)} video files)" if videos else ""
            raise OptionError(f"data.folders {list(map(str, folders))} hold no videos and no folders of images{fault}")
        self.labels = list(range(len(self.clips)))
        self._frames: dict[int, list[Path] | MediaError] = {}

    def length(self, clip: int) -> int:
        return len(self.frames(clip))

    def crop(self, clip: int, frame: int, size: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        return crop_file(self.frames(clip)[frame], size, move)

    def landmarks(self, clip: int, frame: int, anchor: int | None = None, move: Move | None = None) -> np.ndarray:
        file = self.frames(clip)[frame]
        kept = file.with_suffix(".npy")
        if not kept.is_file():
            raise OptionError(
                f"There are no landmarks beside {file}: set data.align=true and remove the folder {file.parent}, or "
                "set options.regions=0."
            )
        points = np.load(kept)
        if move is None:
            return points
        side = self.size  # kept frames are squares of this size
        quad = central_square(np.empty((side, side, 3), np.uint8))
        return to_crop(points * side - 0.5, move(quad))

    def frames(self, clip: int) -> list[Path]:
        """The image files of a clip.

        Raises:
            MediaError: If the video cannot be read or gives fewer than two frames; the same error at every call.
        """
        if clip not in self._frames:
            try:
                self._frames[clip] = self._find_frames(self.clips[clip])
            except MediaError as error:
                self._frames[clip] = error
        found = self._frames[clip]
        if isinstance(found, MediaError):
            raise found
        return found

    def _kept(self, video: Path) -> Path:
        return video.parent / f".frames-{self.size}" / video.stem

    def _readable(self, videos: list[Path]) -> set[Path]:
        from vivface.media.video import VideoReader

        def fault(video: Path) -> MediaError | None:
            if self._kept(video).is_dir():
                return None
            try:
                VideoReader(video).close()
            except MediaError as error:
                return error
            return None

        with ThreadPoolExecutor() as pool:
            faults = dict(zip(videos, pool.map(fault, videos), strict=True))
        for error in filter(None, faults.values()):
            warnings.warn(f"left out: {error}", stacklevel=4)
        return {video for video, error in faults.items() if error is None}

    def _find_frames(self, place: Path) -> list[Path]:
        if place.is_dir():
            files = sorted(p for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            picks = np.linspace(0, len(files) - 1, min(self.frames_per_video, len(files)))
            return [files[round(k)] for k in picks]
        if not self._kept(place).is_dir():
            self._extract(place)
        return sorted(self._kept(place).glob("*.jpg"))

    def _extract(self, video: Path) -> None:
        from vivface.faces.backends import get_backend
        from vivface.faces.tracking import FaceTracker
        from vivface.media.video import VideoReader

        tracker = FaceTracker(get_backend("auto")) if self.align else None
        folder, count = self._kept(video), 0
        folder.parent.mkdir(exist_ok=True)
        with complete_folder(folder, overwrite=True) as work, VideoReader(video) as reader:
            spacing = max(1.0, (reader.frames_estimate or 500) / self.frames_per_video)
            for index, frame in enumerate(reader):
                tracked = tracker.update(frame.image) if tracker else None
                if index < count * spacing or count >= self.frames_per_video or (tracked and not tracked.found):
                    continue
                if tracked:
                    image = align_ffhq(frame.image, tracked.landmarks, self.size)
                    points = to_crop(tracked.landmarks, ffhq_quad(tracked.landmarks))
                    np.save(work / f"{count:04d}.npy", points.astype(np.float32))
                else:
                    image = crop_quad(frame.image, central_square(frame.image), self.size)
                packed = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(work / f"{count:04d}.jpg"), packed, [cv2.IMWRITE_JPEG_QUALITY, 95])
                count += 1
            if count < 2:
                raise MediaError(f"{video} gives {count} usable frames, expected at least 2: remove it from the folder")
