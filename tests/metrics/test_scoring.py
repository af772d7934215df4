"""A pair is scored without keeping frames."""

import tracemalloc

import numpy as np
import pytest
from skimage.data import astronaut

from vivface.errors import NoFaceError
from vivface.faces import choose_face, crop_quad, ffhq_quad
from vivface.metrics.judges import load_judges
from vivface.metrics.scoring import PairScorer
from vivface.models.identity import IdentityNetwork


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    recognizer = IdentityNetwork((4, 4, 8, 8, 16), (1, 1, 1, 1), embedding_dim=16, image_size=48)
    return load_judges(recognizer)


@pytest.fixture(scope="module")
def crop(judges) -> np.ndarray:
    image = astronaut()
    return crop_quad(image, ffhq_quad(choose_face(judges.backend.detect(image)).landmarks), 256)


def shifted(image: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(image, pixels, axis=1)


def test_a_perfect_result(judges, crop):
    scorer = PairScorer(judges, astronaut(), truth=True)
    for pixels in (0, 4, 8, 4, 0):
        scorer.update(shifted(crop, pixels), shifted(crop, pixels))
    scores = scorer.compute()
    assert scores["face found"] == 1.0 and scores["L1"] == 0.0 and scores["SSIM"] == pytest.approx(1.0)
    assert scores["expression distance (face state)"] == scores["dK"] == scores["gaze error (face state)"] == 0.0
    assert scores["jitter"] == scores["jitter of driving"] > 0
    assert scores["identity similarity (recognizer)"] > 0.9
    assert scorer.frechet()["Frechet distance (recognizer)"].compute() == pytest.approx(0.0, abs=1e-9)


def test_the_first_frames_do_not_jump(judges, crop):
    """A face that was just found is settled as one that is followed; on still frames that is all that could move."""
    scorer = PairScorer(judges, astronaut(), truth=False)
    for _ in range(3):
        scorer.update(crop, crop)
    assert scorer.compute()["jitter of driving"] < 0.0006


def test_a_result_that_stands_still(judges, crop):
    scorer = PairScorer(judges, astronaut(), truth=False)
    for pixels in (0, 4, 8, 12):
        scorer.update(shifted(crop, pixels), crop)
    scores = scorer.compute()
    assert "L1" not in scores
    assert scores["dK"] == pytest.approx(4 / 256, rel=0.25)
    assert scores["jitter"] < scores["jitter of driving"] / 2 or scores["jitter"] == 0.0


def test_frames_without_a_face_are_left_out_and_counted(judges, crop):
    scorer = PairScorer(judges, astronaut(), truth=True)
    gray = np.full_like(crop, 128)
    for result in (crop, gray, shifted(crop, 12), shifted(crop, 12)):
        scorer.update(crop, result)
    scores = scorer.compute()
    assert scores["face found"] == 0.75
    assert scores["dK"] < 0.01  # the step of 12 / 256 across the gap does not count
    curve = scorer.curves["identity similarity (recognizer)"]
    assert len(curve) == 4 and np.isnan(curve[1]) and np.isfinite(curve[2])


def test_only_extreme_frames_count(judges, crop):
    scorer = PairScorer(judges, astronaut(), truth=False, least_pose=15.0)
    scorer.update(crop, crop)  # as the source: not extreme
    with pytest.raises(NoFaceError, match="15 degrees"):
        scorer.compute()
    scorer = PairScorer(judges, astronaut(), truth=False, least_pose=0.0)
    scorer.update(shifted(np.rot90(crop, 0), 3), crop)
    assert scorer.scored == 1


def test_a_source_without_a_face(judges):
    with pytest.raises(NoFaceError, match="the source"):
        PairScorer(judges, np.full((128, 128, 3), 90, np.uint8), truth=False)


def test_memory_does_not_grow_with_the_video(judges, crop):
    scorer = PairScorer(judges, astronaut(), truth=True)
    for _ in range(3):
        scorer.update(crop, crop)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        scorer.update(crop, crop)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < crop.nbytes  # 20 frames of curves, no image
