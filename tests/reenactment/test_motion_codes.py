"""Motion codes on disk: what is written is read, and what is no motion file is refused."""

import json
from fractions import Fraction

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vivface import MediaError, MotionCodes
from vivface.reenactment.codes import MOTION_FORMAT, MotionBatch

FPS, TIME_BASE = Fraction(30000, 1001), Fraction(1, 30000)
FRAMES = 11


def make_motion(fail_after: int | None = None) -> MotionCodes:
    """Eleven frames at a varying rate; the fourth shows no face."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(FRAMES, 10, 32, generator=generator)
    pts = [1001 * n + (200 if n % 3 else 0) for n in range(FRAMES)] + [12000]

    def batches(batch_size, images):
        for start in range(0, FRAMES, batch_size):
            if fail_after is not None and start >= fail_after:
                raise KeyboardInterrupt
            rows = range(start, min(FRAMES, start + batch_size))
            yield MotionBatch(
                codes[rows.start : rows.stop],
                times=[pts[row] * TIME_BASE for row in rows],
                durations=[(pts[row + 1] - pts[row]) * TIME_BASE for row in rows],
                found=[row != 3 for row in rows],
            )

    shape = {"code_shape": (10, 32), "encoder": [0.5, 0.25]}
    return MotionCodes(batches, name="clip.mp4", fps=FPS, time_base=TIME_BASE, frames=FRAMES, **shape)


@pytest.fixture
def saved(tmp_path):
    return make_motion().save(tmp_path / "motion.safetensors")


class TestRoundTrip:
    @pytest.mark.parametrize("batch_size", [1, 4, 100])
    def test_codes_times_and_gaps_survive(self, saved, batch_size):
        before, after = list(make_motion().batches(100, False)), MotionCodes.load(saved)
        batches = list(after.batches(batch_size, False))
        assert [len(batch.codes) for batch in batches][:-1] == [batch_size] * (len(batches) - 1)
        assert torch.equal(torch.cat([batch.codes for batch in batches]), before[0].codes)
        for name in ("times", "durations", "found"):
            assert [x for batch in batches for x in getattr(batch, name)] == getattr(before[0], name)
        assert (after.fps, after.time_base, after.frames) == (FPS, TIME_BASE, FRAMES)
        assert (after.code_shape, after.encoder) == ((10, 32), [0.5, 0.25])

    def test_can_be_read_twice(self, saved):
        motion = MotionCodes.load(saved)
        assert sum(len(batch.codes) for batch in motion) == sum(len(batch.codes) for batch in motion) == FRAMES

    def test_file_is_plain_safetensors_with_fps_and_timestamps(self, saved):
        with safe_open(saved, framework="pt") as file:
            metadata = file.metadata()
            assert list(file.keys()) == ["codes"]
            assert tuple(file.get_tensor("codes").shape) == (FRAMES, 10, 32)
        assert metadata["fps"] == "30000/1001"
        assert len(json.loads(metadata["timestamps"])) == FRAMES
        assert json.loads(metadata["missing"]) == [3]


class TestRefused:
    def refused(self, path) -> str:
        with pytest.raises(MediaError) as error:
            MotionCodes.load(path)
        assert path.name in str(error.value)
        return str(error.value)

    def test_missing(self, tmp_path):
        assert "no motion file" in self.refused(tmp_path / "motion.safetensors")

    def test_no_safetensors(self, tmp_path):
        (tmp_path / "motion.safetensors").write_text("hello")
        self.refused(tmp_path / "motion.safetensors")

    def test_truncated(self, saved):
        saved.write_bytes(saved.read_bytes()[:-1000])
        self.refused(saved)

    def test_other_safetensors(self, tmp_path):
        save_file({"weight": torch.zeros(3)}, tmp_path / "weights.safetensors")
        assert "no motion codes" in self.refused(tmp_path / "weights.safetensors")

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("fps", "0"),
            ("fps", "fast"),
            ("time_base", "1/0"),
            ("timestamps", "[0, 1]"),
            ("timestamps", "[0, 2, 1]"),
            ("timestamps", "3"),
            ("missing", "{"),
            ("end", "2"),
            ("encoder", "[true]"),
            ("format", "other"),
            ("encoder", ""),
        ],
    )
    def test_wrong_metadata(self, tmp_path, key, value):
        good = {"format": MOTION_FORMAT, "fps": "25", "time_base": "1/25", "timestamps": "[0, 1, 2]", "end": "3"}
        path = tmp_path / "motion.safetensors"
        save_file({"codes": torch.zeros(3, 10, 32)}, path, metadata={**good, "missing": "[]", "encoder": "[1.0]"})
        MotionCodes.load(path)
        save_file(
            {"codes": torch.zeros(3, 10, 32)}, path, metadata={**good, "missing": "[]", "encoder": "[1.0]", key: value}
        )
        self.refused(path)


class TestNothingIsLeftBehind:
    def test_interrupted(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            make_motion(fail_after=8).save(tmp_path / "motion.safetensors")
        assert list(tmp_path.iterdir()) == []

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(MediaError, match="folder"):
            make_motion().save(tmp_path / "nowhere" / "motion.safetensors")

    def test_wrong_ending(self, tmp_path):
        with pytest.raises(MediaError, match="safetensors"):
            make_motion().save(tmp_path / "motion.npz")
