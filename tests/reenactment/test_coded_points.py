"""Coded videos of points: what the numbers hold, and that a key picture moves by them."""

import io

import numpy as np
import pytest
import torch

from tests.clips import write_face_clip
from vivface.errors import MediaError, OptionError
from vivface.media import load_image
from vivface.pipelines.codec import ExpressiveCodecPipeline
from vivface.reenactment.coded_video import CodedVideo
from vivface.warping.components import components, to_numbers, to_points
from vivface.warping.mesh import MESH, PosedFace


@pytest.fixture(scope="module")
def codec() -> ExpressiveCodecPipeline:
    """The bundled codec: a key picture takes a face that networks see."""
    codec = ExpressiveCodecPipeline.from_pretrained()
    codec.set_progress_bar_config(disable=True)
    return codec


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_face_clip(tmp_path_factory.mktemp("clip") / "gap.mp4", frames=6, hidden=[3])


@pytest.fixture(scope="module")
def coded(codec, clip) -> CodedVideo:
    return codec.encode(clip, basis="points", crop_track=True)


@pytest.fixture(scope="module")
def key(codec, coded) -> np.ndarray:
    """Points of the key picture."""
    from vivface.reenactment.key_picture import read_key_picture

    return read_key_picture(coded.key, coded.name, codec.backend)[1]


@pytest.fixture(scope="module")
def own(key) -> PosedFace:
    """The face of the key picture."""
    return PosedFace.of(key)


class TestNumbers:
    def test_planted_numbers_come_back(self, own):
        random = np.random.RandomState(0)
        numbers = np.concatenate([[12.0, -5.0, 3.0, -2.0, 4.0, 1.5], random.normal(0, 1, len(components()))])
        assert np.allclose(to_numbers(PosedFace.of(to_points(numbers, own)), own), numbers, atol=0.35)

    def test_a_face_is_no_change_of_itself(self, key, own):
        numbers = to_numbers(own, own)
        assert np.abs(np.delete(numbers, [0, 1, 5])).max() < 1e-6  # but the head's own yaw, pitch and roll
        assert np.allclose(to_points(numbers, own), key, atol=1e-9)

    def test_components_are_orthogonal_and_keep_most_of_a_movement(self, own):
        vectors = components().reshape(len(components()), -1)
        angles = np.corrcoef(vectors)
        assert np.abs(angles - np.eye(len(vectors))).max() < 0.2
        assert (np.diff(np.linalg.norm(vectors, axis=1)) < 1e-3).all()
        assert PosedFace.of(to_points(np.zeros(34), own)).shape[:MESH].shape == (MESH, 3)


class TestEncoding:
    def test_seventy_bytes_a_frame_and_the_same_twice(self, codec, clip, coded, tmp_path):
        plain = codec.encode(clip, basis="points")
        assert plain.bytes_per_frame == 70 and coded.bytes_per_frame == 78 and coded.crop.shape == (6, 4)
        again = codec.encode(clip, basis="points")
        first, second = (video.save(tmp_path / f"{n}.vfc").read_bytes() for n, video in enumerate((plain, again)))
        assert first == second
        loaded = CodedVideo.load(tmp_path / "0.vfc")
        assert loaded.basis == "points" and torch.equal(loaded.frames, plain.frames) and loaded.key == plain.key

    @pytest.mark.parametrize("option", [{"steps": 40}, {"pose_steps": 0}, {"identity_steps": 60}, {"target": "frames"}])
    def test_options_of_a_fit_are_refused(self, codec, clip, option):
        with pytest.raises(OptionError, match=f"`{next(iter(option))}` is .*; leave it out: points are read off"):
            codec.encode(clip, basis="points", **option)

    def test_an_identity_latent_is_refused(self, codec, clip):
        with pytest.raises(OptionError, match="`identity` is given; leave it out"):
            codec.encode(clip, basis="points", identity=torch.zeros(4, 8))

    def test_frames_without_a_face_hold(self, coded):
        assert coded.missing == [3] and torch.equal(coded.frames[3, 3:], coded.frames[2, 3:])

    def test_points_without_a_key_picture_are_refused(self, coded, tmp_path):
        path = coded.save(tmp_path / "a.vfc", sound=False)
        key, coded.key = coded.key, None
        try:
            with pytest.raises(MediaError, match="no key picture"):
                CodedVideo.load(coded.save(path, sound=False))
        finally:
            coded.key = key


class TestDecoding:
    def test_the_key_picture_moves(self, codec, coded):
        upright = CodedVideo(**{**vars(coded), "frames": coded.frames.clone()})
        upright.frames[:, 2] = 0
        shown = list(codec.decode(upright, size=256))
        picture = load_image(io.BytesIO(coded.key)).astype(int)
        assert shown[0].shape == (256, 256, 3) and len(shown) == 6
        face = np.s_[50:206, 60:196]
        assert np.abs(shown[coded.key_frame][face].astype(int) - picture[face]).mean() < 5
        upright.frames[:, 0] += 12
        assert np.abs(next(iter(codec.decode(upright, size=256))).astype(int) - shown[0]).mean() > 2

    def test_the_head_is_rolled(self, codec, coded, key):
        from vivface.reenactment.coded_points import CodedPoints, tilted
        from vivface.warping.mesh import PosedFace

        assert np.allclose(tilted(np.array([[1.0, 0.5, 0.0]]), 90.0), [[0.5, 1.0, 0.0]])
        rolled = CodedVideo(**{**vars(coded), "frames": coded.frames.clone()})
        rolled.frames[:, 2] += 20
        before, after = (next(CodedPoints(video, key).batches(1)).points[0] for video in (coded, rolled))
        turns = [PosedFace.of(points).pose.angles[2] for points in (before, after)]
        assert np.degrees(turns[1] - turns[0]) == pytest.approx(20, abs=1)

    def test_every_frame_decodes_alone(self, codec, coded):
        whole = list(codec.decode(coded, size=256))
        alone = CodedVideo(**{**vars(coded), "frames": coded.frames[5:6], "timestamps": [0], "end": 1, "missing": []})
        alone.key_frame = 0
        assert np.abs(next(iter(codec.decode(alone, size=256))).astype(int) - whole[5]).max() <= 1

    def test_there_are_no_other_pictures(self, codec, coded):
        with pytest.raises(OptionError, match="leave `key_picture` out"):
            codec.decode(coded, key_picture=False)

    def test_other_people_tremble_less(self, coded, key):
        from vivface.reenactment.coded_points import CodedPoints

        noise = torch.from_numpy(np.random.RandomState(0).normal(0, 0.5, (40, 35)))
        noisy = CodedVideo(
            **{**vars(coded), "frames": noise.half(), "timestamps": list(range(40)), "end": 40, "missing": []}
        )
        noisy.time_base = 1 / noisy.fps
        own = CodedPoints(noisy, key)
        plain, steady = (
            np.concatenate([batch.points for batch in motion.batches()]) for motion in (own, own.for_others())
        )
        assert plain.shape == steady.shape == (40, 478, 3)
        assert np.diff(steady[:, :468], 2, axis=0).std() < 0.6 * np.diff(plain[:, :468], 2, axis=0).std()

    def test_another_person_moves(self, codec, coded, portrait):
        frames = list(codec.puppeteer(portrait, coded))
        assert len(frames) == 6 and frames[0].shape[0] >= 512
