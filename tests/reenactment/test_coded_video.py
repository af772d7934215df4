"""The file of the 35-number codec: 70 bytes a frame, equal bytes, and what is refused."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from vivface.errors import MediaError
from vivface.faces.alignment import make_quad
from vivface.reenactment.coded_video import CodedVideo, crop_row, from_runs, quad_of, to_runs


def make_coded(count: int = 5, track: bool = False, **changes) -> CodedVideo:
    """A coded video of random numbers; the same for the same arguments."""
    random = torch.Generator().manual_seed(0)
    parts = dict(
        identity=torch.randn(12, 16, generator=random).half(),
        frames=torch.randn(count, 35, generator=random).half(),
        timestamps=list(range(0, 512 * count, 512)),
        end=512 * count,
        time_base=Fraction(1, 12800),
        fps=Fraction(25),
        basis="components",
        digest="0123456789abcdef",
        head_pose="motion",
        fingerprint=[0.5, -0.25],
        crop=torch.rand(count, 4, generator=random).half() if track else None,
        clip_size=(640, 480),
        name="clip.mp4",
    )
    return CodedVideo(**parts | changes)


class TestSize:
    @pytest.mark.parametrize("crop, cost", [(False, 70), (True, 78)])
    def test_one_more_frame_costs_exactly_that(self, crop, cost, tmp_path):
        paths = [make_coded(count, crop).save(tmp_path / f"{count}.vfc") for count in (101, 102, 900)]
        sizes = [path.stat().st_size for path in paths]
        assert sizes[1] - sizes[0] == cost
        assert sizes[2] - sizes[0] == (900 - 101) * cost

    def test_the_report_is_the_file(self, tmp_path):
        coded = make_coded(40)
        size = coded.save(tmp_path / "talk.vfc").stat().st_size
        assert coded.nbytes == size == coded.header_bytes + 40 * coded.bytes_per_frame

    def test_equal_videos_give_equal_bytes(self, tmp_path):
        first, second = (make_coded().save(tmp_path / name).read_bytes() for name in ("a.vfc", "b.vfc"))
        assert first == second


class TestRoundTrip:
    def test_a_key_picture_comes_back(self, tmp_path):
        coded = make_coded(key=bytes(range(200)), key_frame=3)
        path = coded.save(tmp_path / "talk.vfc")
        again = CodedVideo.load(path)
        assert (again.key, again.key_frame) == (coded.key, 3) and torch.equal(again.frames, coded.frames)
        assert path.stat().st_size == coded.nbytes == coded.header_bytes + 5 * 70
        with pytest.raises(MediaError, match="its key picture makes no sense"):
            CodedVideo.load(make_coded(key=b"abc", key_frame=5).save(tmp_path / "wrong.vfc"))

    @pytest.mark.parametrize("crop", [False, True])
    def test_everything_comes_back(self, crop, tmp_path):
        coded = make_coded(track=crop, timestamps=[0, 512, 1100, 1612, 2124], missing=[1, 2])
        again = CodedVideo.load(coded.save(tmp_path / "talk.vfc"))
        for name in ("timestamps", "end", "time_base", "fps", "basis", "digest", "head_pose", "fingerprint"):
            assert getattr(again, name) == getattr(coded, name)
        assert again.missing == [1, 2] and again.clip_size == (640, 480) and again.sound is None
        assert torch.equal(again.frames, coded.frames) and torch.equal(again.identity, coded.identity)
        assert (again.crop is None) if not crop else torch.equal(again.crop, coded.crop)

    def test_as_motion(self):
        coded = make_coded(5, missing=[3])
        motion = coded.motion()
        batches = list(motion.batches(2))
        assert [len(batch.codes) for batch in batches] == [2, 2, 1]
        assert torch.equal(torch.cat([batch.codes for batch in batches]), coded.frames.float())
        assert [time for batch in batches for time in batch.times] == [Fraction(n, 25) for n in range(5)]
        assert [found for batch in batches for found in batch.found] == [True, True, True, False, True]
        assert motion.frames == 5 and motion.seconds == Fraction(1, 5)

    @pytest.mark.parametrize("numbers", [[], [0], [3, 4, 5], [0, 2, 4, 9, 10, 11, 40], list(range(0, 700, 7))])
    def test_runs(self, numbers):
        assert from_runs([list(run) for run in to_runs(numbers)]) == numbers

    def test_even_times_are_one_run(self):
        assert to_runs(list(range(0, 5120, 512))) == [(0, 512, 10)]

    def test_crop_row(self):
        quad = make_quad(np.array([300.0, 200.0]), 80.0, 0.2)
        np.testing.assert_allclose(quad_of(crop_row(quad, (640, 480)), (640, 480)), quad, atol=0.4)


class TestRefused:
    @pytest.fixture
    def path(self, tmp_path):
        return make_coded().save(tmp_path / "talk.vfc")

    def test_missing(self, tmp_path):
        with pytest.raises(MediaError, match="expected a coded video: give a file that .vivface encode. wrote"):
            CodedVideo.load(tmp_path / "none.vfc")

    @pytest.mark.parametrize("keep", [0, 4, 60, 700, -3])
    def test_cut_off(self, path, keep):
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(MediaError, match="cannot be read as a coded video"):
            CodedVideo.load(path)

    def test_foreign(self, path):
        from safetensors.torch import save_file

        save_file({"codes": torch.zeros(3)}, path)
        with pytest.raises(MediaError, match="holds something else"):
            CodedVideo.load(path)
        path.write_text("not at all")
        with pytest.raises(MediaError, match="cannot be read as a coded video"):
            CodedVideo.load(path)

    @pytest.mark.parametrize(
        "changes, reason",
        [
            (dict(frames=torch.zeros(5, 34).half()), "35 numbers"),
            (dict(frames=torch.full((5, 35), float("nan")).half()), "not finite"),
            (dict(timestamps=[0, 512, 400, 1536, 2048]), "times"),
            (dict(end=3), "times do not rise"),
            (dict(basis="wavelets"), "basis"),
            (dict(missing=[9]), "lacks more frames"),
            (dict(fps=Fraction(10**6)), "clock"),
            (dict(crop=torch.zeros(2, 4).half()), "shape"),
        ],
    )
    def test_nonsense(self, tmp_path, changes, reason):
        path = make_coded(**changes).save(tmp_path / "talk.vfc")
        with pytest.raises(MediaError, match=reason):
            CodedVideo.load(path)

    def test_damaged_anywhere_never_crashes(self, path):
        """Every byte of the header flipped, one after the other: read, or refused in one sentence."""
        whole = path.read_bytes()
        for place in range(0, len(whole) - 35 * 10, 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x15]) + whole[place + 1 :])
            try:
                CodedVideo.load(path)
            except MediaError as error:
                assert "\n" not in str(error)

    def test_wrong_name(self, tmp_path):
        with pytest.raises(MediaError, match=r"\.vfc"):
            make_coded().save(tmp_path / "talk.mp4")
