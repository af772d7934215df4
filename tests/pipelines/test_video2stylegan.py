"""Video2StyleGAN: what frames are made of, drivers, checkpoints, and the whole job."""

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.tiny import make_tiny_hyperreenact, make_tiny_video2stylegan
from vivface import load_pipeline
from vivface.errors import CheckpointError, MediaError, OptionError
from vivface.media import VideoReader
from vivface.models.stylegan3 import image_transform
from vivface.pipelines.video2stylegan import CHANNELS_FILE, DIRECTIONS_FILE, Video2StyleGANPipeline, resized
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.frame_code import FrameCode

PORTRAIT, CLIP = (REPOSITORY / "examples" / name for name in ("portrait.png", "driving.mp4"))


@pytest.fixture(scope="module")
def system() -> Video2StyleGANPipeline:
    return make_tiny_video2stylegan()


@pytest.fixture(scope="module")
def identity(system, portrait) -> IdentityCode:
    return system.encode_identity(portrait)


@pytest.fixture
def frames(identity) -> FrameCode:
    """Three frames unlike the portrait."""
    random = torch.Generator().manual_seed(1)
    return FrameCode(
        identity.w_plus + 0.3 * torch.randn(3, 16, 16, generator=random),
        0.3 * torch.randn(3, 5, 16, generator=random),
        0.1 * torch.randn(3, 3, generator=random),
        10 * torch.randn(3, 3, generator=random),
    )


def drawn(system, w_plus: torch.Tensor, position=None) -> torch.Tensor:
    position = torch.zeros(len(w_plus), 3) if position is None else position
    with torch.no_grad():
        return system.generator(w_plus, transform=image_transform(-position[:, 2], position[:, :2]))


class TestFrames:
    def test_the_portrait_driven_by_itself_is_its_inversion(self, system, identity):
        assert torch.equal(system.generate(identity, identity.motion), drawn(system, identity.w_plus))

    def test_position_moves_the_image_alone(self, system, identity, frames):
        still = FrameCode.unpack(identity.motion)
        position = frames.position[:1]
        moved = FrameCode(still.w_plus, still.residual, position, still.pose).pack()
        assert torch.equal(system.generate(identity, moved), drawn(system, identity.w_plus, position))

    def test_local_channels_take_the_drivers_value(self, system, identity, frames):
        """Under the paper's weights, without residual motion: s_j on X_s, s_ref elsewhere."""
        still = FrameCode.unpack(identity.motion)
        code = FrameCode(frames.w_plus[:1], still.residual, still.position, still.pose)
        expected = [style.clone() for style in system.generator.to_stylespace(identity.w_plus)]
        driver = system.generator.to_stylespace(frames.w_plus[:1])
        for channels in system.local_channels.parts.values():
            for style, channel in channels.tolist():
                expected[style][:, channel] = driver[style][:, channel]
        with torch.no_grad():
            image = system.generator(styles=expected)
        torch.testing.assert_close(system.generate(identity, code.pack()), image, atol=1e-4, rtol=1e-4)

    def test_baseline_is_residual_motion(self, system, identity, frames):
        still = FrameCode.unpack(identity.motion)
        code = FrameCode(frames.w_plus[:1], frames.residual[:1], still.position, still.pose)
        baseline = system.with_weights(alpha=0, beta=0, gamma=1, zeta=0)
        moved = identity.w_plus.clone()
        moved[:, 3:8] += frames.residual[:1]
        masks = system._local_masks()
        styles = [
            torch.where(mask, base, base if 3 <= row < 8 else own)
            for row, (mask, base, own) in enumerate(
                zip(masks, *(system.generator.to_stylespace(w) for w in (moved, identity.w_plus)), strict=True)
            )
        ]
        with torch.no_grad():
            expected = system.generator(styles=styles)
        torch.testing.assert_close(baseline.generate(identity, code.pack()), expected, atol=1e-4, rtol=1e-4)
        assert system.weights.alpha == -1  # other weights are those of a copy

    def test_frames_do_not_depend_on_their_batch(self, system, identity, frames):
        together = system.generate(identity, frames.pack())
        alone = torch.cat([system.generate(identity, code[None]) for code in frames.pack()])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)

    def test_pose_taken_apart(self, identity, frames, portrait):
        """Codes are read without pose, and get that of the frame: the portrait itself stays what it is."""
        apart = make_tiny_video2stylegan(pose_apart=True)
        own = apart.encode_identity(portrait)
        torch.testing.assert_close(own.w_plus, identity.w_plus)
        difference = (FrameCode.unpack(own.motion).w_plus - own.w_plus)[:, :8]
        pose = FrameCode.unpack(own.motion).pose
        torch.testing.assert_close(difference, -torch.einsum("bk,krd->brd", pose, apart.pose_directions.steps))
        torch.testing.assert_close(apart.generate(own, own.motion), drawn(apart, own.w_plus), atol=1e-4, rtol=1e-4)


class TestWholeJob:
    def test_portrait_and_clip_to_video(self, system, portrait, face_clip, tmp_path):
        result = system(portrait, face_clip, duration=0.2, adapt="pti:1")
        assert result.save(tmp_path / "out.mp4").stat().st_size > 500
        assert result.identity.generator is not None

    def test_drivers_differ(self, system, identity, face_clip):
        """A part taken from the portrait, not from the video, changes what is seen; all of them hold it still."""
        options = dict(duration=0.2)

        def last(**drivers) -> np.ndarray:
            return list(system(identity, face_clip, **options, **drivers))[-1].astype(int)

        usual = last()
        for part in ("position", "pose", "local", "residual"):
            assert np.abs(last(**{part: "source"}) - usual).max() > 0, part
        still = dict.fromkeys(("position", "pose", "local", "residual"), "source")
        first, *_, end = system(identity, face_clip, **options, **still)
        assert np.array_equal(first, end)

    def test_two_videos(self, system, identity, face_clip):
        second = system.encode_motion(face_clip, start=0.4)
        mixed = system(identity, face_clip, duration=0.2, co_driving=second)
        assert next(iter(mixed)).shape == (32, 32, 3)
        assert mixed.motion._drivers.pose == mixed.motion._drivers.position == "co_driving"

    def test_saved_motion_drives_as_the_video_does(self, system, identity, face_clip, tmp_path):
        motion = system.encode_motion(face_clip, duration=0.2)
        path = motion.save(tmp_path / "motion.safetensors")
        for a, b in zip(system(identity, motion), system(identity, path), strict=True):
            assert np.abs(a.astype(int) - b).max() <= 2  # half precision

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"zeta": 2}, "`zeta` is 2"),
            ({"smooth": 2}, "`smooth` is 2"),
            ({"pose": "co_driving"}, "no `co_driving` video"),
            ({"local": "me"}, "`local` is 'me'"),
            ({"adapt": "cma"}, "StyleGAN2"),
        ],
    )
    def test_what_is_refused(self, system, identity, face_clip, options, message):
        with pytest.raises(OptionError, match=message):
            system(identity, face_clip, **options)

    def test_codes_of_another_system_are_refused(self, system, identity, motion_file):
        with pytest.raises(MediaError, match="this checkpoint takes"):
            system(identity, motion_file)


class TestCheckpoint:
    def test_saved_and_loaded(self, system, identity, frames, tmp_path):
        system.with_weights(zeta=0.25).save_pretrained(tmp_path)
        assert (tmp_path / CHANNELS_FILE).is_file() and (tmp_path / DIRECTIONS_FILE).is_file()
        loaded = load_pipeline(tmp_path)
        assert isinstance(loaded, Video2StyleGANPipeline) and loaded.config.zeta == 0.25
        expected = system.with_weights(zeta=0.25).generate(identity, frames.pack())
        torch.testing.assert_close(loaded.generate(identity, frames.pack()), expected, atol=5e-3, rtol=0)

    def test_channels_of_another_generator_are_refused(self, system, tmp_path):
        system.save_pretrained(tmp_path)
        type(system.local_channels)({"eyes": torch.tensor([[3, 99]], dtype=torch.int32)}).save(tmp_path / CHANNELS_FILE)
        with pytest.raises(OptionError, match="channel 99 of style 3"):
            Video2StyleGANPipeline.from_pretrained(tmp_path)

    def test_another_systems_checkpoint_is_refused(self, tmp_path):
        make_tiny_hyperreenact().save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="not a Video2StyleGANPipeline"):
            load_pipeline(tmp_path, system="video2stylegan")

    def test_components_that_do_not_fit(self, system):
        other = make_tiny_video2stylegan().inversion
        with pytest.raises(OptionError, match="pose_steps"):
            Video2StyleGANPipeline(system.generator, other, system.pose, pose_steps=-1)
        from vivface.models.stylegan3 import StyleGAN3Generator

        generator = StyleGAN3Generator(size=32, configuration="T", style_dim=16, channels=[8] * 14)
        with pytest.raises(OptionError, match="configuration is T"):
            Video2StyleGANPipeline(generator, other, system.pose)


@pytest.fixture(scope="module")
def bundled() -> Video2StyleGANPipeline:
    return load_pipeline("stylegan3")


@pytest.fixture(scope="module")
def bundled_identity(bundled) -> IdentityCode:
    return bundled.encode_identity(PORTRAIT)


class TestBundled:
    """The StyleGAN3 that comes with the package, by its name."""

    def test_it_is_the_papers_system(self, bundled):
        assert type(bundled) is Video2StyleGANPipeline
        assert bundled.generator.config.configuration == "R" and bundled.generator.config.size == 64
        assert {"eyes", "nose", "mouth"} <= set(bundled.local_channels.parts)

    def test_it_draws_the_portrait(self, bundled, bundled_identity):
        made, seen = (
            bundled.generate(bundled_identity, bundled_identity.motion),
            resized(bundled_identity.reference, 64),
        )
        error = (made - seen)[:, :, 12:52, 12:52].square().mean()
        assert 10 * torch.log10(4 / error) > 15

    def test_pose_directions_turn_the_head(self, bundled, bundled_identity):
        own = FrameCode.unpack(bundled_identity.motion)

        def yaw(degrees: float) -> float:
            turned = FrameCode(own.w_plus, own.residual, own.position, own.pose + torch.tensor([[degrees, 0.0, 0.0]]))
            images = resized(bundled.generate(bundled_identity, turned.pack()), bundled.pose.config.image_size)
            return bundled.pose(images).pose[0, 0].item()

        left, ahead, right = (yaw(degrees) for degrees in (15.0, 0.0, -15.0))
        assert left > ahead + 7 and right < ahead - 7

    def test_a_video(self, bundled, tmp_path):
        bundled(PORTRAIT, CLIP, duration=0.2).save(tmp_path / "out.mp4")
        frames = list(VideoReader(tmp_path / "out.mp4"))
        assert len(frames) > 2 and frames[0].image.shape == (64, 64, 3)
