"""The points of a driving video, kept in a file, so that a clip that drives many portraits is read once.

They are kept as they were read, in full precision: frames come out as from the video itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import numpy as np

from vivface.reenactment.codes import BATCH_SIZE, MotionBatch, MotionCodes
from vivface.reenactment.progress import OnProgress
from vivface.warping.mesh import POINTS

_ROW = POINTS * 3 + 8  # numbers a frame: points, and where the crop lies


class KeptPoints(MotionCodes):
    """The points of a motion without its codes; read from a file, which the first complete pass writes.

    Several processes may share a file: it appears when it is complete.

    Args:
        motion (`MotionCodes`): The motion, of a video with points.
        path (`pathlib.Path`): The file; another one with `.json` at its end lies beside it.
        work (`pathlib.Path`): Folder of this process alone, on the same disk, for files that are not complete.
    """

    def __init__(self, motion: MotionCodes, path: Path, work: Path):
        vars(self).update({name: value for name, value in vars(motion).items() if not name.startswith("_")})
        self._motion, self._path, self._work = motion.points_only(), path, work

    @property
    def _notes(self) -> Path:
        return self._path.with_name(f"{self._path.name}.json")

    def batches(
        self, batch_size: int = BATCH_SIZE, images: bool = False, on_progress: OnProgress | None = None
    ) -> Iterator[MotionBatch]:
        """Points as the video gives them; with images they are read from the video again."""
        if images:
            return self._motion.batches(batch_size, images, on_progress)
        if self._notes.is_file():
            return self._read(batch_size)
        return self._recorded(self._motion.batches(batch_size, on_progress=on_progress))

    def _recorded(self, batches: Iterator[MotionBatch]) -> Iterator[MotionBatch]:
        unfinished = self._work / self._path.name
        times: list[tuple[str, str, bool]] = []
        with closing(batches), open(unfinished, "wb") as file:
            for batch in batches:
                if batch.points is None:  # no face that the mesh network sees: there is nothing to keep
                    yield batch
                    yield from batches
                    return
                rows = np.concatenate([part.reshape(len(part), -1) for part in (batch.points, batch.quads)], 1)
                file.write(rows.astype(np.float64).tobytes())
                times += zip(map(str, batch.times), map(str, batch.durations), batch.found, strict=True)
                yield batch
        notes = self._work / self._notes.name
        notes.write_text(json.dumps({"frames": times, "warnings": self.warnings}), encoding="utf-8")
        os.replace(unfinished, self._path)
        os.replace(notes, self._notes)

    def _read(self, batch_size: int) -> Iterator[MotionBatch]:
        notes = json.loads(self._notes.read_text(encoding="utf-8"))
        self.warnings[:] = notes["warnings"]
        with open(self._path, "rb") as file:
            for start in range(0, len(notes["frames"]), batch_size):
                times, durations, found = zip(*notes["frames"][start : start + batch_size], strict=True)
                rows = np.fromfile(file, np.float64, len(times) * _ROW).reshape(len(times), _ROW)
                yield MotionBatch(
                    None,
                    list(map(Fraction, times)),
                    list(map(Fraction, durations)),
                    list(found),
                    points=rows[:, :-8].reshape(-1, POINTS, 3),
                    quads=rows[:, -8:].reshape(-1, 4, 2),
                )
