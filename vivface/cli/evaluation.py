"""The work of `vivface evaluate`: make and score every pair, keep what is done, write tables and figures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from vivface.errors import MediaError, OptionError, VivFaceError
from vivface.files import complete_file
from vivface.media import VideoReader, VideoWriter, load_image, save_image
from vivface.metrics.figures import contact_sheet, heat_map, plot
from vivface.metrics.frechet import FrechetDistance
from vivface.metrics.judges import Judges
from vivface.metrics.protocols import EXTREME, IMAGES, Pair, Protocol
from vivface.metrics.scoring import SIZE, PairScorer
from vivface.metrics.tables import by_run, card_metrics, markdown, means, model_index, spreads
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.driving import DrivingVideo

if TYPE_CHECKING:
    from vivface.pipelines.base import ReenactmentPipeline

STATE = "state.pt"
RUN = "#"  # between the name of a distance and the number of a run
REVERSED_BYTES = 256 * 1024**2  # of frames that are held while a video is turned around
MAX_SHEET = 24  # pairs in the contact sheet
Tell = Callable[[str], None]


@dataclass
class State:
    """What is done: a row of each pair, and the sums of the Frechet distances; one file, replaced in one step."""

    settings: dict
    rows: list[dict] = field(default_factory=list)
    frechet: dict[str, FrechetDistance] = field(default_factory=dict)

    def add(self, row: dict, frechet: dict[str, FrechetDistance]) -> None:
        """Take a pair in."""
        self.rows.append(row)
        for name, distance in frechet.items():
            for key in (name, f"{name}{RUN}{row['run']}"):
                self.frechet.setdefault(key, FrechetDistance()).merge(distance)

    def distances(self) -> tuple[dict[str, float | None], dict[int, dict[str, float | None]]]:
        """The Frechet distances by name: of all pairs, and of the pairs of every run."""
        whole: dict[str, float | None] = {}
        runs: dict[int, dict[str, float | None]] = {}
        for key, distance in self.frechet.items():
            name, _, run = key.partition(RUN)
            (runs.setdefault(int(run), {}) if run else whole)[name] = distance.compute()
        return whole, runs

    def save(self, file: Path) -> None:
        """Write everything."""
        content = {"settings": json.dumps(self.settings), "rows": json.dumps(self.rows)}
        sums = {name: distance.state() for name, distance in self.frechet.items()}
        with complete_file(file) as temporary:
            torch.save(content | {"frechet": sums}, temporary)

    @classmethod
    def load(cls, file: Path, settings: dict) -> State:
        """What an earlier run with these settings wrote; an empty state without it.

        Raises:
            OptionError: If other settings made it.
            MediaError: If it is damaged.
        """
        if not file.exists():
            return cls(settings)
        try:
            content = torch.load(file, weights_only=True)
            state = cls(json.loads(content["settings"]), json.loads(content["rows"]))
            state.frechet = {name: FrechetDistance.from_state(sums) for name, sums in content["frechet"].items()}
        except Exception as error:  # torch's reader raises errors of many kinds
            raise MediaError(f"'{file}' is damaged ({type(error).__name__}): delete it to begin again.") from error
        # Through JSON, which knows no tuples
        changed = [k for k, v in json.loads(json.dumps(settings)).items() if state.settings.get(k) != v]
        if changed:
            raise OptionError(
                f"'{file.parent}' holds an evaluation with other settings ({', '.join(changed)}): give another "
                "--output, or --overwrite."
            )
        return state


class Evaluation:
    """Pairs, made and scored one after the other.

    Args:
        pipeline (`ReenactmentPipeline`): The system.
        judges (`Judges`): Networks that score.
        protocol (`Protocol`): What is measured.
        folder (`Path`): Everything is written here.
        frames (`int`): Most frames of a driving video.
        adapt (`int` or `str`, *optional*): Tuning to the portrait; as the checkpoint says if None.
        refine (`bool`): Second stage.
        detail (`bool`, *optional*, defaults to False): Move the photograph itself, which needs no tuning.
    """

    def __init__(
        self,
        pipeline: ReenactmentPipeline,
        judges: Judges,
        protocol: Protocol,
        folder: Path,
        frames: int,
        adapt: int | str | None,
        refine: bool,
        detail: bool = False,
    ):
        adapt = 0 if detail and adapt is None else adapt
        self.detail = detail
        self.pipeline, self.judges, self.protocol, self.folder = pipeline, judges, protocol, folder
        self.frames, self.adapt, self.refine = frames, adapt, refine
        self._identity: tuple[tuple[Path, float], IdentityCode] | None = None

    def settings(self, pairs: list[Pair]) -> dict:
        """What has to be the same when an evaluation goes on."""
        return {
            "checkpoint": [type(self.pipeline).__name__, *(round(x, 6) for x in self.pipeline.fingerprint)],
            "protocol": self.protocol.value,
            "pairs": [[p.name, str(p.source), str(p.driving), _size(p.source), _size(p.driving)] for p in pairs],
            "frames": self.frames,
            "adapt": self.adapt,
            "refine": self.refine,
            "detail": self.detail,
            "networks": self.judges.names,
        }

    def run(self, pairs: list[Pair], tell: Tell) -> State:
        """Make and score the pairs that are not done; one that fails is reported in its row.

        Args:
            pairs (list of `Pair`): All of them.
            tell (callable): Told of every pair in a line.
        """
        for name in ("sources", "results", "plots", "reversed", "errors"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        state = State.load(self.folder / STATE, self.settings(pairs))
        done = {row["name"] for row in state.rows}
        for number, pair in enumerate(pairs, 1):
            if pair.name in done:
                tell(f"{number}/{len(pairs)} {pair.name}: done before")
                continue
            row: dict = {"name": pair.name, "source": pair.source.name, "driving": pair.driving.name, "run": pair.run}
            distances: dict[str, FrechetDistance] = {}
            try:
                scorer = self._score(pair)
                row |= {"frames": scorer.frames, "scored": scorer.scored, "faces": scorer.faces}
                row["scores"] = scorer.compute()
                distances = scorer.frechet()
                plot(self.folder / "plots" / f"{pair.name}.png", pair.name, scorer.curves)
                if self.protocol is Protocol.ROBUSTNESS:
                    np.save(self._error_file(pair), scorer.error_map)
            except VivFaceError as error:
                row = {k: v for k, v in row.items() if k != "scores"} | {"error": str(error)}
            state.add(row, distances)
            state.save(self.folder / STATE)
            tell(f"{number}/{len(pairs)} {pair.name}: {row.get('error', 'scored')}")
        return state

    def _score(self, pair: Pair) -> PairScorer:
        source = self._source(pair)
        driving = self._driving(pair)
        least = EXTREME if self.protocol is Protocol.EXTREME else None
        scorer = PairScorer(self.judges, load_image(source), pair.truth, least)
        motion = self.pipeline.encode_motion(driving, max_frames=self.frames)
        if str(self.adapt).startswith("cma"):  # tunes to source and driver together
            result = self.pipeline(source, motion, refine=self.refine, adapt=self.adapt, detail=self.detail)
        else:
            result = self.pipeline(self._encode(pair, source), motion, refine=self.refine, detail=self.detail)
        framing, crops = result.options.framing(result.identity), self._crops(driving)
        result.save(
            self.folder / "results" / f"{pair.name}.mp4",
            on_frame=lambda frame: scorer.update(_resized(framing.cut(next(crops))), _resized(frame.image)),
        )
        crops.close()
        return scorer

    def _encode(self, pair: Pair, source: Path) -> IdentityCode:
        """The source's identity, kept for the next pair: tuning takes a while."""
        key = (pair.source, pair.at)
        if self._identity is None or self._identity[0] != key:
            self._identity = key, self.pipeline.encode_identity(source, adapt=self.adapt)
        return self._identity[1]

    def _crops(self, driving: Path) -> Iterator[np.ndarray]:
        """The driving frames, cut as the results show them."""
        reader = VideoReader(driving, max_frames=self.frames)
        crop = None
        shown = getattr(self.pipeline, "shown_crop", self.pipeline.config.crop)
        video = DrivingVideo(reader, self.pipeline.backend, SIZE, shown)
        for frame in video.frames([], points=False, of_points=self.detail):
            crop = frame.crop if frame.crop is not None else crop
            yield crop

    def _source(self, pair: Pair) -> Path:
        """An image of the source: the file itself, or a frame of the video, written once."""
        if pair.source.suffix.lower() in IMAGES:
            return pair.source
        file = self.folder / "sources" / f"{pair.source.stem}_{round(pair.at * 1000):03d}.png"
        if not file.exists():
            with VideoReader(pair.source, max_frames=self.frames) as video:
                wanted = int(pair.at * (video.frames_estimate or self.frames))
                for number, frame in enumerate(video):
                    image = frame.image
                    if number == wanted:
                        break
            save_image(file, image)
        return file

    def _driving(self, pair: Pair) -> Path:
        if not pair.backwards:
            return pair.driving
        file = self.folder / "reversed" / f"{pair.driving.stem}.mp4"
        if not file.exists():
            write_reversed(pair.driving, file, self.frames)
        return file

    # Results ---------------------------------------------------------------------------------------------------------

    def write(self, pairs: list[Pair], state: State, title: str, data: str) -> str:
        """Write `table.md`, `table.json`, `model-index.json` and `sheet.png`; returns the Markdown table.

        Args:
            pairs (list of `Pair`), state (`State`): What was evaluated, and what came out.
            title, data (`str`): Names of system and media.
        """
        frechet, of_runs = state.distances()
        ours = means(state.rows, frechet)
        table = markdown(self.protocol.value, state.rows, frechet, self.judges.missing, title, of_runs)
        content = {
            "protocol": self.protocol.value,
            "mean": ours,
            "runs": by_run(state.rows),
            "spread": spreads(state.rows, of_runs),
            "metrics": card_metrics(ours, self.protocol.value),
            "networks": self.judges.names,
            "missing": self.judges.missing,
            "rows": state.rows,
        }
        index = model_index(ours, self.protocol.value, title, data)
        _write(self.folder / "table.md", table)
        _write(self.folder / "table.json", json.dumps(content, indent=1) + "\n")
        _write(self.folder / "model-index.json", json.dumps({"model-index": index}, indent=1) + "\n")
        scored = {row["name"] for row in state.rows if "scores" in row}
        if self.protocol is Protocol.ROBUSTNESS and scored:
            self._write_heat_map([pair for pair in pairs if pair.name in scored], title)
        shown = [p for p in pairs if p.name in scored][:MAX_SHEET]
        if shown:
            blocks = [
                (p.name, self._source(p), self._driving(p), self.folder / "results" / f"{p.name}.mp4") for p in shown
            ]
            save_image(self.folder / "sheet.png", contact_sheet(blocks, min(2, len(blocks))))
        return table

    def _error_file(self, pair: Pair) -> Path:
        return self.folder / "errors" / f"{pair.name}.npy"

    def _write_heat_map(self, pairs: list[Pair], title: str) -> None:
        blocks = []
        for driving in dict.fromkeys(pair.driving for pair in pairs):
            maps = {pair.run: np.load(self._error_file(pair)) for pair in pairs if pair.driving == driving}
            crops = self._crops(driving)
            blocks.append((driving.stem, next(crops), maps))
            crops.close()
        heat_map(self.folder / "heat_map.png", blocks, f"{title}: error of re-enacted frames")


def write_reversed(video: Path, output: Path, frames: int) -> None:
    """Write the first frames of a video backwards. A part of it is held at once, and it is read once for each part.

    Args:
        video (`Path`), output (`Path`): Files.
        frames (`int`): Most frames.
    """
    with VideoReader(video, max_frames=frames) as reader:
        count, size, fps = sum(1 for _ in reader), reader.size, reader.fps
    part = max(8, REVERSED_BYTES // (size[0] * size[1] * 3))
    with VideoWriter(output, size, fps, crf=10) as writer:
        for end in range(count, 0, -part):
            begin = max(end - part, 0)
            held = []
            with VideoReader(video, max_frames=end) as reader:
                held = [frame.image for number, frame in enumerate(reader) if number >= begin]
            for image in reversed(held):
                writer.write(image)


def _resized(image: np.ndarray) -> np.ndarray:
    if image.shape[:2] == (SIZE, SIZE):
        return image
    way = cv2.INTER_AREA if image.shape[0] > SIZE else cv2.INTER_CUBIC
    return cv2.resize(image, (SIZE, SIZE), interpolation=way)


def _size(path: Path) -> int:
    return os.stat(path).st_size


def _write(file: Path, text: str) -> None:
    with complete_file(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
