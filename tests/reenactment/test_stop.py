"""Work that is stopped: promptly in every stage, with nothing left behind."""

import time

import numpy as np
import pytest
import torch

from tests.clips import write_face_clip
from vivface.reenactment.progress import Progress


class StoppedError(Exception):
    """Raised by the one who was told of the progress."""


class StopAt:
    """Raises in a stage, and notes when."""

    def __init__(self, stage: str, done: int = 0):
        self.stage, self.done = stage, done
        self.seen: list[Progress] = []
        self.raised_at = 0.0

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if progress.stage == self.stage and progress.done >= self.done:
            self.raised_at = time.monotonic()
            raise StoppedError


@pytest.fixture
def identity(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait)


def test_steps_of_tuning_are_told_and_stop(tiny_pipeline, portrait):
    stop = StopAt("adapting", 3)
    with pytest.raises(StoppedError):
        tiny_pipeline.encode_identity(portrait, adapt=1000, on_progress=stop)
    assert [progress.done for progress in stop.seen] == [0, 1, 2, 3]
    assert all(progress.total == 1000 for progress in stop.seen)


class SlowBackend:
    """Finds no face, slowly, as in a long clip without one."""

    def detect(self, image, effort="normal", near=None):
        time.sleep(0.05)
        return []

    def refine(self, image, face):
        return None


def test_the_search_for_a_face_stops(tiny_checkpoint, identity, tmp_path):
    from vivface import VivFacePipeline

    clip = write_face_clip(tmp_path / "long.mp4", frames=200, hidden=range(200))
    pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint).use_detector(SlowBackend())
    stop = StopAt("searching", 3)
    with pytest.raises(StoppedError):
        pipeline(identity, clip).save(tmp_path / "out.mp4", on_progress=stop)
    assert time.monotonic() - stop.raised_at < 2  # the whole search would take 10
    assert 3 <= stop.seen[-1].done < 100
    assert [path.name for path in tmp_path.iterdir()] == ["long.mp4"]


def test_rendering_stops_and_leaves_nothing(tiny_pipeline, identity, motion_file, tmp_path):
    stop = StopAt("rendering", 8)
    result = tiny_pipeline(identity, motion_file, batch_size=4)
    with pytest.raises(StoppedError):
        result.save(tmp_path / "out.mp4", save_motion=tmp_path / "m.safetensors", on_progress=stop)
    assert [(progress.done, progress.total) for progress in stop.seen] == [(4, 21), (8, 21)]
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_result_can_be_read_again(tiny_pipeline, identity, face_clip):
    result = tiny_pipeline(identity, face_clip)
    frames = iter(result)
    next(frames)
    frames.close()
    assert len(list(result)) == 21
    assert np.isfinite(result.report.seconds) and torch.is_inference_mode_enabled() is False
