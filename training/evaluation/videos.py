"""The videos that are scored: reenactments by a checkpoint, or what a perfect result of its size would be."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from training.evaluation.landmark_warp import write_landmark_warp
from training.evaluation.pairs import Pair, write_clip
from training.evaluation.scores import Row
from vivface import load_pipeline
from vivface.errors import VivFaceError
from vivface.media import VideoReader, VideoWriter
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.driving import DrivingVideo
from vivface.runtime import choose_device

Maker = Callable[[Pair, Path], Row]  # writes the pair's video, returns numbers about the making


def reenactment_maker(options: argparse.Namespace) -> Maker:
    """What reenacts pairs with a checkpoint.

    Args:
        options (`argparse.Namespace`): `checkpoint`, `device`, `adapt`, `no_refine` and `show` of the command line.

    Raises:
        CheckpointError: If the checkpoint cannot be loaded.
    """
    if options.show == "landmark-warp":
        return landmark_warp_maker()
    pipeline = load_pipeline(options.checkpoint).to(choose_device(options.device))
    pipeline.set_progress_bar_config(disable=True)
    detail = pipeline.offers_detail and options.show != "generator"
    adapt = 0 if detail and options.adapt is None else options.adapt
    latest: tuple[Path, IdentityCode] | None = (
        None  # adaptation takes a while, and pairs of a source follow one another
    )

    def make(pair: Pair, output: Path) -> Row:
        nonlocal latest
        if latest is None or latest[0] != pair.source:
            latest = pair.source, pipeline.encode_identity(pair.source, adapt=adapt)
        result = pipeline(latest[1], pair.driving, refine=not options.no_refine, detail=detail)
        result.save(output)
        return {"frames_per_second": result.report.fps}

    return make


def landmark_warp_maker() -> Maker:
    """What warps photographs by landmarks, without any checkpoint."""

    def make(pair: Pair, output: Path) -> Row:
        write_landmark_warp(str(pair.source), str(pair.driving), str(output))
        return {}

    return make


def ground_truth_maker(options: argparse.Namespace, clips: Path) -> Maker:
    """What renders a pair's ground truth, and crops it as the pipeline crops a driving video.

    Args:
        options (`argparse.Namespace`): `checkpoint` and the settings of rendered clips of the command line.
        clips (`Path`): Folder that keeps rendered clips.

    Raises:
        CheckpointError: If the checkpoint cannot be loaded.
    """
    pipeline = load_pipeline(options.checkpoint)
    size = pipeline.output_size

    def make(pair: Pair, output: Path) -> Row:
        person, mover = (int(path.stem.split("_")[0]) for path in (pair.source, pair.driving))
        whole = pair.driving
        if person != mover:
            whole = clips / f"{person}_as_{pair.driving.name}"
            if not whole.exists():
                write_clip(whole, person, mover, options.frames, options.fps, options.size, options.assets)
        driving = DrivingVideo(VideoReader(whole), pipeline.backend, size, pipeline.config.crop)
        crop = None
        with VideoWriter(output, (size, size), options.fps) as writer:
            for frame in driving.frames([]):
                crop = frame.crop if frame.crop is not None else crop
                writer.write(crop)
        return {}

    return make


def score_all(
    pairs: list[Pair], folder: Path, make: Maker, score_pair: Callable[[Pair, Path], Row]
) -> list[tuple[Pair, Path, Row]]:
    """Make and score every pair's video; one that fails is reported in its row and does not stop the others.

    Args:
        pairs (`list[Pair]`): What to make.
        folder (`Path`): Where videos go, named after the pairs.
        make (`Maker`): Makes a video.
        score_pair (callable): Scores it.

    Returns:
        `list`: Pair, video and scores.
    """
    done = []
    for pair in pairs:
        output = folder / f"{pair.name}.mp4"
        output.unlink(missing_ok=True)
        row: Row = {"name": pair.name, "source": pair.source.name, "driving": pair.driving.name}
        try:
            row |= make(pair, output) | score_pair(pair, output)
        except VivFaceError as error:
            row |= {"error": str(error), "mode": pair.mode, "face_found": 0.0}
        shown = {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
        print(pair.name, row.get("error", ""), shown, flush=True)
        done.append((pair, output, row))
    return done
