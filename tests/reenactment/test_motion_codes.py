"""Motion codes on disk: what is written is read, and what is no motion file is refused."""

import json
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.motion import ListedMotion
from vivface import MediaError, MotionCodes
from vivface.reenactment.motion_file import MOTION_FORMAT

FPS, TIME_BASE = Fraction(30000, 1001), Fraction(1, 30000)
FRAMES = 11


def make_motion(fail_after: int | None = None) -> ListedMotion:
    """Eleven frames at a varying rate; the fourth shows no face."""
    codes = torch.randn(FRAMES, 10, 32, generator=torch.Generator().manual_seed(0))
    pts = [1001 * n + (200 if n % 3 else 0) for n in range(FRAMES)] + [12000]
    return ListedMotion(
        codes,
        times=[tick * TIME_BASE for tick in pts],
        fps=FPS,
        time_base=TIME_BASE,
        missing={3},
        fingerprint=[0.5, 0.25],
        fail_after=fail_after,
    )


@pytest.fixture
def saved(tmp_path):
    return make_motion().save(tmp_path / "motion.safetensors")


class TestRoundTrip:
    @pytest.mark.parametrize("batch_size", [1, 4, 100])
    def test_codes_times_and_gaps_survive(self, saved, batch_size):
        before, after = list(make_motion().batches(100)), MotionCodes.load(saved)
        batches = list(after.batches(batch_size))
        assert [len(batch.codes) for batch in batches][:-1] == [batch_size] * (len(batches) - 1)
        assert torch.equal(torch.cat([batch.codes for batch in batches]), before[0].codes)
        for name in ("times", "durations", "found"):
            assert [x for batch in batches for x in getattr(batch, name)] == getattr(before[0], name)
        assert (after.fps, after.time_base, after.frames) == (FPS, TIME_BASE, FRAMES)
        assert (after.code_shape, after.fingerprint) == ((10, 32), [0.5, 0.25])

    def test_feature_maps_are_stored_in_half_precision(self, tmp_path):
        codes = torch.randn(2, 512, 7, 7, generator=torch.Generator().manual_seed(0))
        codes[0, 0, 0, 0] = 1e6  # more than float16 holds
        path = ListedMotion(codes).save(tmp_path / "maps.safetensors")
        assert path.stat().st_size < 2 * 2 * 512 * 49 + 2000
        (batch,) = MotionCodes.load(path)
        assert torch.equal(batch.codes, codes.clamp(max=65504).half().float())

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
            ("timestamps", f"[0, 1, {2**70}]"),
            ("timestamps", "[-1, 1, 2]"),
            ("end", str(10**12)),
            ("fps", "100000"),
            ("fps", f"1/{2**40}"),
            ("time_base", f"1/{2**40}"),
            ("time_base", "-1/25"),
            ("encoder", "[NaN]"),
            ("missing", "[" * 5000),
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

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_codes_that_are_not_finite(self, saved, tmp_path, value):
        codes = load_file(saved)["codes"]
        codes[7, 3, 2] = value
        with safe_open(saved, framework="pt") as file:
            save_file({"codes": codes}, tmp_path / "bad.safetensors", metadata=file.metadata())
        with pytest.raises(MediaError, match="not finite"):
            list(MotionCodes.load(tmp_path / "bad.safetensors"))

    def test_whole_numbers_are_no_codes(self, tmp_path, saved):
        with safe_open(saved, framework="pt") as file:
            save_file(
                {"codes": torch.zeros(FRAMES, 10, 32, dtype=torch.int32)}, tmp_path / "i.safetensors", file.metadata()
            )
        self.refused(tmp_path / "i.safetensors")


class TestAnyShape:
    def test_codes_of_a_few_numbers(self, tmp_path):
        motion = ListedMotion(torch.randn(5, 35))
        loaded = MotionCodes.load(motion.save(tmp_path / "motion.safetensors"))
        assert loaded.code_shape == (35,)
        assert torch.equal(torch.cat([batch.codes for batch in loaded]), torch.cat([b.codes for b in motion]))


class TestMap:
    def test_passes_every_iteration_through_the_function(self):
        motion = make_motion()
        doubled = motion.map(lambda batches: (replace(batch, codes=2 * batch.codes) for batch in batches))
        for _ in range(2):
            assert torch.equal(next(doubled.batches(100)).codes, 2 * next(motion.batches(100)).codes)
        assert (doubled.fps, doubled.code_shape, doubled.name) == (motion.fps, motion.code_shape, motion.name)


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
