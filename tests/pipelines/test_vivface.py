"""The pipeline end to end, with random weights on a real face."""

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.clips import portrait as portrait_picture
from tests.clips import read_sound_packets, read_times, write_face_clip
from tests.motion import ListedMotion
from tests.tiny import make_tiny_pipeline
from vivface import MediaError, MotionCodes, NoFaceError, OptionError, VivFacePipeline
from vivface.media import is_marked_synthetic, load_image
from vivface.media.tensors import to_images

FRAMES = 21


@pytest.fixture(scope="module")
def identity(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def motion(tiny_pipeline, face_clip, tmp_path_factory):
    """The clip's motion, saved, so that tests of the renderer need not track the face again."""
    path = tmp_path_factory.mktemp("motion") / "motion.safetensors"
    return MotionCodes.load(tiny_pipeline.encode_motion(face_clip).save(path))


def frames_of(stream) -> np.ndarray:
    return np.stack(list(stream))


def largest_difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


class TestIdentity:
    def test_shapes(self, identity, tiny_pipeline):
        generator = tiny_pipeline.generator
        assert identity.w_plus.shape == (1, generator.num_latents, 32)
        assert [style.shape for style in identity.styles] == [(1, 32)] * len(generator.layer_names)
        assert identity.memory.shape == (1, 16, 32) and identity.motion.shape == (1, 10, 32)
        assert identity.reference.shape == (1, 3, 64, 64) and identity.reference.abs().max() <= 1
        assert identity.quad.shape == (4, 2) and identity.photo.dtype == np.uint8
        assert identity.warnings == []

    def test_array_picture_and_file_are_one(self, identity, tiny_pipeline, portrait):
        for source in (load_image(portrait), portrait.open("rb")):
            assert torch.equal(tiny_pipeline.encode_identity(source).w_plus, identity.w_plus)

    def test_large_photo_keeps_its_size(self, identity, tiny_pipeline):
        large = np.kron(portrait_picture(), np.ones((4, 4, 1), np.uint8))  # 2048 x 2048
        code = tiny_pipeline.encode_identity(large)
        assert np.array_equal(code.photo, large)
        assert np.abs((code.quad + 0.5) / 4 - 0.5 - identity.quad).max() < 4  # landmarks of two resolutions

    @pytest.mark.parametrize("crop", ["stable", "ffhq"])
    def test_reference_shows_the_crop_of_the_checkpoint(self, crop, portrait):
        from vivface.faces.alignment import align_ffhq, crop_quad, ffhq_quad
        from vivface.faces.backends import get_backend

        image = load_image(portrait)
        landmarks = get_backend("dlib").detect(image)[0].landmarks
        if crop == "ffhq":
            expected = align_ffhq(image, landmarks, 64)
        else:
            expected = crop_quad(image, ffhq_quad(landmarks), 64)
        reference = make_tiny_pipeline(crop=crop).use_detector("dlib").encode_identity(portrait).reference
        levels = (reference[0].permute(1, 2, 0) + 1) * 127.5
        assert np.abs(levels.numpy() - expected).max() < 0.01

    def test_no_face(self, tiny_pipeline):
        with pytest.raises(NoFaceError, match="source image"):
            tiny_pipeline.encode_identity(np.full((300, 300, 3), 128, np.uint8))

    def test_face_that_is_not_there(self, tiny_pipeline, portrait):
        with pytest.raises(NoFaceError, match=portrait.name):
            tiny_pipeline.encode_identity(portrait, face=3)

    def test_several_faces_are_told_and_can_be_chosen(self, tiny_pipeline, identity):
        face = portrait_picture()[:300, 80:380]
        small = cv2.resize(face, (240, 240), interpolation=cv2.INTER_AREA)
        picture = np.full((300, 600, 3), 128, np.uint8)
        picture[:, :300], picture[30:270, 330:570] = face, small
        largest = tiny_pipeline.encode_identity(picture)
        assert "2 faces" in largest.warnings[0]
        first, second = (tiny_pipeline.encode_identity(picture, face=number) for number in (0, 1))
        assert first.warnings == [] and np.allclose(first.quad, largest.quad, atol=2)
        assert second.quad[:, 0].mean() > 300 > first.quad[:, 0].mean()


class TestGenerate:
    def test_without_refinement_it_is_the_plain_generator(self, tiny_pipeline, identity, motion):
        codes = next(iter(motion)).codes
        with torch.no_grad():
            deformation = tiny_pipeline.transformer(codes, identity.memory.expand(len(codes), -1, -1))
            expected = tiny_pipeline.generator(identity.w_plus.expand(len(codes), -1, -1), deformation)
        image = tiny_pipeline.generate(identity, codes, refine=False)
        assert torch.allclose(image, expected, atol=1e-4)

    def test_without_a_transformer_motion_codes_are_taken_as_they_are(self, tiny_pipeline, identity, motion, tmp_path):
        """Table 2 of the paper; such a checkpoint is saved and loaded as any other."""
        components = {**tiny_pipeline.components, "transformer": None}
        VivFacePipeline(**components, image_size=64, crop="stable").save_pretrained(tmp_path)
        pipeline, codes = VivFacePipeline.from_pretrained(tmp_path), next(iter(motion)).codes
        with torch.no_grad():
            expected = tiny_pipeline.generator(identity.w_plus.expand(len(codes), -1, -1), codes)
        assert pipeline.transformer is None
        assert torch.allclose(pipeline.generate(identity, codes, refine=False), expected, atol=1e-4)

    def test_refinement_is_the_two_full_passes_of_the_paper(self, tiny_pipeline, identity, motion):
        """The shortcut (resume from the changed layer) against running everything twice."""
        pipeline, codes = tiny_pipeline, next(iter(motion)).codes[:3]
        generator, network = pipeline.generator, pipeline.refinement
        with torch.no_grad():
            deformation = pipeline.transformer(codes, identity.memory)
            styles = generator.add_motion(generator.to_stylespace(identity.w_plus), deformation)
            stage1 = F.interpolate(generator(styles=styles), (64, 64), mode="bilinear", align_corners=False)
            output = network(stage1, identity.reference.expand(3, -1, -1, -1))
            state = generator(styles=styles, stop_after="convs.6")
            state.feature = state.feature * (1 + output.scale) + output.shift
            expected = generator(styles=styles, resume=state)
        refined, plain = (pipeline.generate(identity, codes, refine=refine) for refine in (True, False))
        assert torch.allclose(refined, expected, atol=1e-4)
        assert (refined - plain).abs().max() > 0.05

    def test_neutral_picture(self, tiny_pipeline, identity):
        with torch.no_grad():
            image = tiny_pipeline.generator(identity.w_plus)
        expected = ((image[0].clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).numpy()
        assert largest_difference(tiny_pipeline.neutral(identity), expected) <= 1
        transformed = VivFacePipeline(**tiny_pipeline.components, image_size=64, crop="stable", neutral="transformed")
        assert largest_difference(transformed.neutral(identity), expected) > 5


class TestRender:
    def test_frames(self, tiny_pipeline, identity, motion):
        frames = frames_of(tiny_pipeline.render(identity, motion))
        assert frames.shape == (FRAMES, 64, 64, 3) and frames.dtype == np.uint8
        assert frames.std() > 10 and largest_difference(frames[0], frames[10]) > 0

    def test_same_again(self, tiny_pipeline, identity, motion):
        first, second = (frames_of(tiny_pipeline.render(identity, motion)) for _ in range(2))
        assert np.array_equal(first, second)

    @pytest.mark.parametrize("batch_size", [1, 5, 64])
    def test_batch_size_does_not_matter(self, tiny_pipeline, identity, motion, batch_size):
        expected = frames_of(tiny_pipeline.render(identity, motion))
        assert (
            largest_difference(frames_of(tiny_pipeline.render(identity, motion, batch_size=batch_size)), expected) <= 1
        )

    def test_relative_motion_starts_at_the_source_and_absolute_does_not(self, tiny_pipeline, identity, motion):
        own = to_images(tiny_pipeline.generate(identity, identity.motion))[0]
        relative = next(tiny_pipeline.render(identity, motion, motion_mode="relative"))
        absolute = next(tiny_pipeline.render(identity, motion))
        assert largest_difference(relative, own) <= 1 < largest_difference(absolute, own)

    @pytest.mark.parametrize("mode", ["absolute", "relative"])
    def test_strength_zero_stands_still(self, tiny_pipeline, identity, motion, mode):
        frames = frames_of(tiny_pipeline.render(identity, motion, motion_mode=mode, strength=0.0))
        assert largest_difference(frames, frames[:1]) <= 1
        assert largest_difference(frames, frames_of(tiny_pipeline.render(identity, motion, motion_mode=mode))) > 1

    def test_strength_goes_from_the_source_to_the_driver(self, tiny_pipeline, identity, motion):
        codes = next(iter(motion)).codes
        middle = tiny_pipeline.generate(identity, (codes + identity.motion) / 2)
        frames = frames_of(tiny_pipeline.render(identity, motion, strength=0.5))[: len(codes)]
        assert largest_difference(frames, to_images(middle)) <= 1

    def test_paste_back_changes_the_face_only(self, tiny_pipeline, identity, motion):
        frames = frames_of(tiny_pipeline.render(identity, motion, paste_back=True))
        assert frames.shape == (FRAMES, *identity.photo.shape)
        changed = (frames != identity.photo).any(axis=(0, 3))
        rows, columns = np.nonzero(changed)
        low, high = identity.quad.min(axis=0) - 1, identity.quad.max(axis=0) + 1
        assert low[1] <= rows.min() and rows.max() <= high[1] and low[0] <= columns.min() and columns.max() <= high[0]
        assert changed.mean() > 0.05

    def test_half_precision_gives_nearly_the_same(self, tiny_checkpoint, tiny_pipeline, portrait, identity, motion):
        half = VivFacePipeline.from_pretrained(tiny_checkpoint, dtype=torch.bfloat16)
        frames = frames_of(half.render(half.encode_identity(portrait), motion))
        expected = frames_of(tiny_pipeline.render(identity, motion))
        assert frames.dtype == np.uint8
        assert np.abs(frames.astype(int) - expected).mean() < 8
        assert np.corrcoef(frames.ravel(), expected.ravel())[0, 1] > 0.98

    @pytest.mark.parametrize(
        "wrong", [{"motion_mode": "half"}, {"strength": -1.0}, {"strength": float("nan")}, {"batch_size": 0}]
    )
    def test_options_out_of_range(self, tiny_pipeline, identity, motion, wrong):
        with pytest.raises(OptionError):
            tiny_pipeline.render(identity, motion, **wrong)  # at once, not at the first frame


class TestMotion:
    def test_saved_codes_give_the_frames_of_the_video(self, tiny_pipeline, identity, motion, face_clip):
        live = frames_of(tiny_pipeline(identity, face_clip))
        assert np.array_equal(live, frames_of(tiny_pipeline(identity, motion)))

    def test_codes_of_another_checkpoint_are_refused(self, portrait, motion):
        with pytest.raises(MediaError, match="another checkpoint"):
            make_tiny_pipeline(seed=1)(portrait, motion)

    def test_codes_of_another_shape_are_refused(self, tiny_pipeline, identity):
        for shape, words in (((10, 512), "10 motion codes of 512"), ((35,), "codes of 35 numbers")):
            motion = ListedMotion(torch.zeros(3, *shape), fingerprint=tiny_pipeline.fingerprint)
            with pytest.raises(MediaError, match=words):
                tiny_pipeline(identity, motion)

    def test_codes_do_not_depend_on_the_batch(self, tiny_pipeline, face_clip):
        """Only motion is read off a frame, and nothing of the frames beside it."""
        motion = tiny_pipeline.encode_motion(face_clip)
        one, many = (torch.cat([b.codes for b in motion.batches(size)]) for size in (1, 8))
        torch.testing.assert_close(one, many, atol=1e-5, rtol=1e-4)

    def test_points_come_without_codes(self, tiny_pipeline, face_clip, monkeypatch):
        motion = tiny_pipeline.encode_motion(face_clip)
        both = list(motion.batches(8))
        monkeypatch.setattr(type(tiny_pipeline), "encode_crops", None)  # cannot be called
        alone = list(motion.points_only().batches(8))
        assert [batch.codes for batch in alone] == [None] * 3
        for one, other in zip(both, alone, strict=True):
            assert np.array_equal(one.points, other.points) and np.array_equal(one.quads, other.quads)
            assert (one.times, one.found) == (other.times, other.found)

    def test_a_part_of_the_video(self, tiny_pipeline, identity, face_clip, tmp_path):
        result = tiny_pipeline(identity, face_clip, start=0.2, duration=0.4)
        assert read_times(result.save(tmp_path / "out.mp4")) == [Fraction(n, 25) for n in range(10)]


class TestGaps:
    """Frames 5 to 9 of 15, or the first 6, show no face."""

    def render(self, pipeline, identity, path):
        result = pipeline(identity, path, refine=False)
        frames = frames_of(result)
        return frames, result.report

    def test_in_the_middle_the_motion_is_held(self, tiny_pipeline, identity, tmp_path):
        clip = write_face_clip(tmp_path / "gap.mp4", frames=15, hidden=range(5, 10))
        frames, report = self.render(tiny_pipeline, identity, clip)
        assert len(frames) == 15 and report.missing == 5
        assert "5 of the 15 frames" in report.warnings[-1]
        assert largest_difference(frames[5:10], frames[4:5]) <= 1
        assert largest_difference(frames[10], frames[9]) > 1

    def test_at_the_start_the_first_motion_is_used(self, tiny_pipeline, identity, tmp_path):
        clip = write_face_clip(tmp_path / "late.mp4", frames=15, hidden=range(6))
        frames, report = self.render(tiny_pipeline, identity, clip)
        assert len(frames) == 15 and report.missing == 6
        assert largest_difference(frames[:6], frames[6:7]) <= 1

    def test_at_the_end(self, tiny_pipeline, identity, tmp_path):
        clip = write_face_clip(tmp_path / "early.mp4", frames=15, hidden=range(9, 15))
        frames, report = self.render(tiny_pipeline, identity, clip)
        assert len(frames) == 15 and report.missing == 6
        assert largest_difference(frames[9:], frames[8:9]) <= 1

    def test_no_face_at_all(self, tiny_pipeline, identity, tmp_path):
        clip = write_face_clip(tmp_path / "empty.mp4", frames=12, hidden=range(12))
        with pytest.raises(NoFaceError, match=r"empty\.mp4.*12 frames|12 frames.*empty\.mp4"):
            tiny_pipeline(identity, clip).save(tmp_path / "out.mp4")
        assert [path.name for path in tmp_path.iterdir()] == ["empty.mp4"]


class TestResult:
    def test_nothing_is_read_before_the_result_is(self, tiny_pipeline, identity, face_clip, monkeypatch):
        monkeypatch.setattr(type(tiny_pipeline.encoder), "forward", lambda *_, **__: pytest.fail("computed too early"))
        result = tiny_pipeline(identity, face_clip)
        assert result.size == (64, 64) and result.fps == 25 and result.motion.frames == FRAMES

    def test_video_keeps_timestamps_and_sound(self, tiny_pipeline, identity, face_clip, tmp_path):
        result = tiny_pipeline(identity, face_clip)
        path = result.save(tmp_path / "out.mp4")
        assert read_times(path) == read_times(face_clip)
        assert read_sound_packets(path) == read_sound_packets(face_clip)
        assert is_marked_synthetic(path)
        report = result.report
        assert report.frames == FRAMES and report.missing == 0 and report.warnings == []
        assert report.seconds > 0 and report.fps == pytest.approx(FRAMES / report.seconds)

    def test_variable_frame_rate(self, tiny_pipeline, identity, tmp_path):
        times = [Fraction(n, 1000) for n in (0, 20, 53, 103, 223, 243, 276)]
        clip = write_face_clip(tmp_path / "vfr.mp4", frames=len(times), times=times, fps=Fraction(1000, 39))
        path = tiny_pipeline(identity, clip).save(tmp_path / "out.mp4")
        assert [float(time) for time in read_times(path)] == pytest.approx([float(t) for t in times], abs=1e-3)

    def test_side_by_side(self, tiny_pipeline, identity, face_clip, tmp_path):
        result = tiny_pipeline(identity, face_clip)
        path = result.save(tmp_path / "out.mp4", side_by_side=True)
        from vivface.media import VideoReader

        frames = [frame.image for frame in VideoReader(path)]
        driving = [frame.image for frame in VideoReader(face_clip)]
        assert len(frames) == FRAMES and frames[0].shape == (192, 3 * 192, 3)
        assert np.abs(frames[7][:, 192:384].astype(int) - driving[7]).mean() < 5
        assert read_sound_packets(path) == read_sound_packets(face_clip)

    def test_side_by_side_needs_the_video(self, tiny_pipeline, identity, motion, tmp_path):
        with pytest.raises(OptionError, match="motion file"):
            tiny_pipeline(identity, motion).save(tmp_path / "out.mp4", side_by_side=True)

    def test_motion_can_be_saved_on_the_way(self, tiny_pipeline, identity, motion, face_clip, tmp_path):
        tiny_pipeline(identity, face_clip).save(tmp_path / "out.mp4", save_motion=tmp_path / "motion.safetensors")
        again = MotionCodes.load(tmp_path / "motion.safetensors")
        assert torch.equal(*(torch.cat([batch.codes for batch in codes]) for codes in (again, motion)))

    def test_error_in_the_middle_leaves_nothing(self, tiny_pipeline, identity, face_clip, tmp_path):
        def stop(frame):
            if frame.time >= Fraction(10, 25):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tiny_pipeline(identity, face_clip).save(
                tmp_path / "out.mp4", save_motion=tmp_path / "motion.safetensors", on_frame=stop
            )
        assert list(tmp_path.iterdir()) == []

    def test_progress_bar_can_be_disabled_and_enabled(self, tiny_checkpoint, identity, motion, capfd):
        pipeline = VivFacePipeline.from_pretrained(tiny_checkpoint)
        frames_of(pipeline(identity, motion))
        assert f"{FRAMES}/{FRAMES}" in capfd.readouterr().err
        pipeline.set_progress_bar_config(disable=True)
        frames_of(pipeline(identity, motion))
        assert capfd.readouterr().err == ""
