"""What a worker does: read a portrait's identity code once for everybody, and make clips with it.

A worker writes into a folder of its own and moves what is complete to its place, so a worker that is killed leaves
nothing half-written where results lie.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vivface.batch.clips import Clip
from vivface.batch.records import DONE, FAILED, Record, Records, file_stamp, recipe
from vivface.errors import MediaError, NoFaceError, VivFaceError, first_line
from vivface.provenance.manifest import sidecar_of

if TYPE_CHECKING:
    from vivface.batch.plan import Portrait
    from vivface.pipelines.base import ReenactmentPipeline
    from vivface.pipelines.photograph import PhotographPipeline
    from vivface.reenactment.codes import IdentityCode
    from vivface.reenactment.kept_points import KeptPoints
    from vivface.reenactment.portrait import PortraitPhoto
    from vivface.reenactment.result import ReenactmentResult
    from vivface.reenactment.video_motion import VideoMotion
    from vivface.warping.parts import Parts

IDENTITIES, WORK, BEGUN = "identities", ".work", ".begun"
DRIVERS = "drivers"  # beside the workers' own folders: points of driving videos
COMPUTING = ("device", "engine", "batch_size", "threads")  # settings that no result depends on
MAX_ATTEMPTS = 2  # a clip at which a worker ended is tried once more


@dataclass(frozen=True)
class BatchSettings:
    """How all clips of a run are made; the fields are those of `vivface reenact`.

    Attributes:
        checkpoint, system, device, detector, engine (`str`): What computes; `engine` as for `use_engine`.
        refine, paste_back (`bool`), motion_mode (`str`), strength (`float`), batch_size (`int`), seed (`int`), adapt
            (`str`), detail (`bool`), size (`int`), background (`str`): As for the pipeline.
        parts (`Parts`, *optional*), pose (`str`, *optional*): As for the pipeline; `"source"` for the portrait's pose.
        edits (tuple of `str`): Each as `parse_edits` takes it.
        mark, manifest (`bool`), label (`bool` or `str`): As for `Provenance`.
        threads (`int`, *optional*): CPU threads of a worker; by default its share of the cores.
    """

    checkpoint: str | None = None
    system: str | None = None
    device: str = "auto"
    detector: str = "auto"
    engine: str = "torch"
    refine: bool = True
    paste_back: bool = False
    motion_mode: str = "absolute"
    strength: float = 1.0
    batch_size: int | None = None
    seed: int = 0
    adapt: str | None = None
    detail: bool | None = None
    size: int | None = None
    background: str = "keep"
    parts: Parts | None = None
    pose: str | None = None
    edits: tuple[str, ...] = ()
    mark: bool = True
    manifest: bool = True
    label: bool | str = False
    threads: int | None = None

    def of_result(self) -> dict[str, object]:
        """What a result depends on: everything but how it is computed, and the files of the checkpoint."""
        kept = {name: value for name, value in asdict(self).items() if name not in COMPUTING}
        folder = Path(self.checkpoint or "")
        if self.checkpoint is not None and folder.is_dir():
            files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors"))
            kept["checkpoint"] = str(folder.resolve())
            kept["files"] = {str(path.relative_to(folder)): file_stamp(path) for path in files}
        return kept


def identity_path(clip: Clip, settings: BatchSettings, output: Path) -> Path:
    """Where the identity code of a clip's portrait is kept; the portrait's own file if it is one already."""
    if Path(clip.source).suffix == ".safetensors":
        return Path(clip.source)
    names = ("checkpoint", "files", "system", "detector", "seed", "adapt", "detail", "edits")
    kept = {name: value for name, value in settings.of_result().items() if name in names}
    key = json.dumps([clip.source, clip.face, file_stamp(clip.source), kept], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return output / IDENTITIES / f"{Path(clip.source).stem[:40]}-{digest}.safetensors"


def work_folder(output: Path, shard: str | None, worker: str = "") -> Path:
    """Where a worker's unfinished files lie; without a worker, those of all workers of the shard."""
    return output / WORK / (shard or "all").replace("/", "-of-") / worker


class ClipMaker:
    """Makes clips with one pipeline.

    Args:
        settings (`BatchSettings`): How.
        output (`pathlib.Path`): Folder of the results.
        work (`pathlib.Path`): Folder for unfinished files, of this worker alone.
        worker (`str`): Its name in records.

    Raises:
        VivFaceError: If the checkpoint cannot be loaded or a setting is wrong.
    """

    def __init__(self, settings: BatchSettings, output: Path, work: Path, worker: str):
        from vivface.provenance import Provenance

        self.settings, self.output, self.work, self.worker = settings, output, work, worker
        self.records = Records(output)
        for folder in (work, output / IDENTITIES, output / BEGUN):
            folder.mkdir(parents=True, exist_ok=True)
        self._edits = _read_edits(settings.edits)
        self._provenance = Provenance(settings.mark, settings.manifest, settings.label)
        self._loaded: tuple[Path, IdentityCode] | None = None
        self._photo: tuple[Portrait, PortraitPhoto] | None = None
        if settings.threads is not None:
            _limit_threads(settings.threads)
        self._photograph = load_photograph(settings)
        if self._photograph is None:
            self._pipeline = load_quietly(settings)  # now, as what is wrong with it stops the run

    @cached_property
    def _pipeline(self) -> ReenactmentPipeline:
        """The checkpoint's networks; not loaded as long as photographs move by themselves."""
        return load_quietly(self.settings)

    def read_portrait(self, clip: Clip) -> str | None:
        """Read the identity code of a clip's portrait into its file, unless it is there.

        Returns:
            `str`: Why it cannot be done; None where it is done.
        """
        path, alone = identity_path(clip, self.settings, self.output), self._moves_alone(clip)
        if not alone and path.is_file() and self._fits(path):
            return None
        if not alone and str(path) == clip.source:
            return (
                f"'{clip.source}' is no identity code of this checkpoint: give an image, or a code made with this one."
            )
        begun = self.output / BEGUN / path.name
        if (count := self._begin(begun)) > MAX_ATTEMPTS:
            self._end(begun)
            return f"A worker ended {count - 1} times at the portrait '{clip.source}': memory may be short."
        try:
            if alone:
                self._read_photo(clip)
                return None
            identity = self._pipeline.encode_identity(
                clip.source, clip.face, adapt=self._portrait_tuning(), seed=self.settings.seed
            )
            temporary = self.work / path.name
            identity.save(temporary)
            os.replace(temporary, path)
            self._loaded = (path, identity)
            return None
        except VivFaceError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - one portrait must not stop the others
            return f"{type(error).__name__}: {first_line(error)}"
        finally:
            self._end(begun)

    def make(self, clip: Clip) -> Record:
        """Make a clip and write its record; whatever goes wrong becomes part of the record."""
        begun = self.output / BEGUN / f"{clip.name}.clip"
        if self.records.is_done(clip, self.settings.of_result()):  # by a worker that ended before it could say so
            self._end(begun)
            return self.records.read(clip.name)
        made_of = recipe(clip, self.settings.of_result())
        record = Record(clip.name, clip.source, clip.driving, FAILED, worker=self.worker, made_of=made_of)
        record.attempts = self._begin(begun)
        began = time.perf_counter()
        try:
            if record.attempts > MAX_ATTEMPTS:
                record.attempts -= 1
                record.error = f"A worker ended {record.attempts} times at this clip: memory may be short."
            else:
                self._render(clip, record)
                record.status = DONE
        except VivFaceError as error:
            record.error = str(error)
        except Exception as error:  # noqa: BLE001 - one clip must not stop the others
            record.error = f"{type(error).__name__}: {first_line(error)}"
        record.seconds = round(time.perf_counter() - began, 3)
        self.records.write(record, self.work)
        self._end(begun)
        return record

    def _render(self, clip: Clip, record: Record) -> None:
        from vivface.reenactment.video_motion import VideoMotion

        result = self._moved(clip) if self._moves_alone(clip) else self._reenacted(clip)
        if result.options.detail and isinstance(result.motion, VideoMotion):
            result.motion = self._kept(clip, result.motion)
        temporary, final = self.work / clip.name, self.output / clip.name
        result.save(temporary, provenance=self._provenance)
        if (beside := sidecar_of(temporary)).exists():
            os.replace(beside, sidecar_of(final))
        os.replace(temporary, final)
        report = result.report
        record.frames, record.missing = report.frames, report.missing
        record.warnings = list(dict.fromkeys(report.warnings))

    def _moves_alone(self, clip: Clip) -> bool:
        """Whether a clip needs no network of the checkpoint, see `PhotographPipeline`."""
        return self._photograph is not None and ".safetensors" not in (
            Path(clip.source).suffix,
            Path(clip.driving).suffix,
        )

    def _moved(self, clip: Clip) -> ReenactmentResult:
        return self._photograph(self._read_photo(clip), clip.driving, **self._common(clip))

    def _read_photo(self, clip: Clip) -> PortraitPhoto:
        """A clip's portrait; the last one is kept."""
        if self._photo is None or self._photo[0] != clip.portrait:
            self._photo = (clip.portrait, self._photograph.read_photo(clip.source, clip.face))
        return self._photo[1]

    def _reenacted(self, clip: Clip) -> ReenactmentResult:
        settings = self.settings
        adapt = settings.adapt if self._tunes_to_driver else None
        result = self._result(clip, adapt)
        read_here = identity_path(clip, settings, self.output) != Path(clip.source)
        if read_here and adapt is None and self._portrait_tuning() == 0 and not result.options.detail:
            result = self._result(clip, self._pipeline.config.adapt_steps)  # a motion without points
        return result

    def _result(self, clip: Clip, adapt: int | str | None) -> ReenactmentResult:
        settings = self.settings
        return self._pipeline(
            self._identity(clip),
            clip.driving,
            **self._common(clip),
            pose=settings.pose,
            seed=settings.seed,
            adapt=adapt,
            edits=self._edits,
            detail=settings.detail,
        )

    def _common(self, clip: Clip) -> dict[str, Any]:
        """Options of every clip, whatever makes it."""
        settings = self.settings
        return dict(
            refine=settings.refine,
            paste_back=settings.paste_back,
            motion_mode=settings.motion_mode,
            strength=settings.strength,
            batch_size=settings.batch_size,
            size=settings.size,
            background=settings.background,
            driving_face=clip.driving_face,
            start=clip.start,
            duration=clip.duration,
            **({} if settings.parts is None else {"parts": settings.parts}),
        )

    def _kept(self, clip: Clip, motion: VideoMotion) -> KeptPoints:
        """The points of a clip's driver, which all workers of the run share."""
        from vivface.reenactment.kept_points import KeptPoints

        part = [*clip.driver, file_stamp(clip.driving)]
        digest = hashlib.sha256(json.dumps(part).encode()).hexdigest()[:16]
        folder = self.work.parent / DRIVERS
        folder.mkdir(exist_ok=True)
        return KeptPoints(motion, folder / digest, self.work)

    def _identity(self, clip: Clip) -> IdentityCode:
        from vivface.reenactment.codes import IdentityCode

        path = identity_path(clip, self.settings, self.output)
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = None  # not both at once
            self._loaded = (path, IdentityCode.load(path).to(self._pipeline.device))
        return self._loaded[1]

    def _portrait_tuning(self) -> int | str | None:
        """What the portrait is tuned by before any driving video is known; nothing where it is shown itself."""
        if self._tunes_to_driver:
            return 0
        if self.settings.adapt is not None:
            return self.settings.adapt
        return 0 if self._pipeline.shows_detail(self.settings.detail, self._edits) else None

    @property
    def _tunes_to_driver(self) -> bool:
        return (self.settings.adapt or "").startswith("cma")

    def _fits(self, path: Path) -> bool:
        """Whether an identity file of an earlier run can be read and is this checkpoint's."""
        from vivface.reenactment.codes import IdentityCode

        try:
            identity = IdentityCode.load(path)
        except (MediaError, NoFaceError):
            return False
        ours = self._pipeline.fingerprint
        return len(ours) == len(identity.fingerprint) and all(
            abs(a - b) <= 1e-2 * max(map(abs, ours)) for a, b in zip(ours, identity.fingerprint, strict=True)
        )

    @staticmethod
    def _begin(mark: Path) -> int:
        """Count a beginning, in a file that outlives this process; how many there were."""
        with open(mark, "ab") as file:
            file.write(b".")
            return file.tell()

    @staticmethod
    def _end(mark: Path) -> None:
        with suppress(OSError):
            mark.unlink()


def _limit_threads(count: int) -> None:
    """How many threads networks and warps of this process use."""
    import cv2
    import torch

    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def _read_edits(texts: tuple[str, ...]) -> dict | None:
    if not texts:
        return None
    from vivface.editing import parse_edits

    return parse_edits(texts)


def write_failure(clip: Clip, error: str, settings: BatchSettings, output: Path, work: Path) -> Record:
    """Write the record of a clip whose portrait cannot be read."""
    work.mkdir(parents=True, exist_ok=True)
    made_of = recipe(clip, settings.of_result())
    record = Record(clip.name, clip.source, clip.driving, FAILED, error, made_of=made_of)
    Records(output).write(record, work)
    return record


def load_photograph(settings: BatchSettings) -> PhotographPipeline | None:
    """What moves photographs without the checkpoint's networks; None where the settings need these."""
    if settings.system or settings.adapt or settings.edits or settings.pose:
        return None
    from vivface.pipelines.photograph import PhotographPipeline
    from vivface.runtime import choose_device

    how = dict(device=str(choose_device(settings.device)), engine=settings.engine, detector=settings.detector)
    return PhotographPipeline.for_checkpoint(settings.checkpoint, detail=settings.detail, **how)


def load_quietly(settings: BatchSettings) -> ReenactmentPipeline:
    """The pipeline of a worker on its device, without bars and without other libraries' remarks."""
    from diffusers.utils import logging

    from vivface.pipelines import load_pipeline
    from vivface.runtime import choose_device

    logging.set_verbosity_error()
    pipeline = load_pipeline(settings.checkpoint, system=settings.system, engine=settings.engine)
    pipeline = pipeline.to(choose_device(settings.device)).use_detector(settings.detector)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
