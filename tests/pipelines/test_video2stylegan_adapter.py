"""Video2StyleGAN on StyleGAN2: the networks of the package, a few small frames; checkpoints; the command line."""

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.tiny import make_tiny_pipeline
from vivface import load_pipeline
from vivface.errors import CheckpointError, OptionError
from vivface.media import VideoReader
from vivface.pipelines.video2stylegan import Video2StyleGANPipeline
from vivface.pipelines.video2stylegan_adapter import Video2StyleGANAdapterPipeline, moved
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.frame_code import FrameCode, image_motion

PORTRAIT, DRIVING = REPOSITORY / "examples" / "portrait.png", REPOSITORY / "examples" / "driving.mp4"


@pytest.fixture(scope="module")
def system() -> Video2StyleGANAdapterPipeline:
    """What `--system video2stylegan` loads."""
    system = load_pipeline(system="video2stylegan", adapt_steps=0)
    system.set_progress_bar_config(disable=True)
    return system


@pytest.fixture(scope="module")
def identity(system) -> IdentityCode:
    return system.encode_identity(PORTRAIT)


def angles_of(system, images) -> torch.Tensor:
    """Yaw, pitch, roll that P_r reads."""
    with torch.no_grad():
        return system.pose(torch.nn.functional.interpolate(images, (128, 128), mode="bilinear")).pose


class TestBundled:
    def test_what_the_package_holds(self, system):
        assert isinstance(system, Video2StyleGANAdapterPipeline)
        assert {part: len(channels) for part, channels in system.local_channels.parts.items()} == {
            "eyes": 15,
            "nose": 35,
            "mouth": 21,
        }
        assert system.pose_directions is not None and system.config.pose_apart

    def test_the_portrait_driven_by_itself_is_the_hybrid_systems_image(self, system, identity):
        code = system.inversion(identity.reference)
        with torch.no_grad():
            expected = system.generator(code.identity, code.motion)
        torch.testing.assert_close(system.generate(identity, identity.motion), expected, atol=1e-3, rtol=0)

    def test_pose_is_matched(self, system, identity):
        """Eq. 7, from the linear estimate: the head turns as far as asked, and a search of a few steps is nearer."""
        own = FrameCode.unpack(identity.motion)
        turned = FrameCode(own.w_plus, own.residual, own.position, own.pose + torch.tensor([[20.0, -8.0, 0.0]]))
        errors = []
        for steps in (0, 12):
            posed = Video2StyleGANAdapterPipeline(system.generator, system.inversion, system.pose, pose_steps=steps)
            posed.pose_directions = system.pose_directions
            posed.register_to_config(pose_apart=True)
            codes = posed._posed(identity, turned)
            found = angles_of(system, posed.draw(posed.generator, posed.styles_of(posed.generator, codes)))
            errors.append(float((found - turned.pose)[:, :2].abs().max()))
        assert errors[0] < 10 and errors[1] < errors[0]

    def test_position_moves_the_picture(self, system, identity):
        own = FrameCode.unpack(identity.motion)
        still = system.generate(identity, identity.motion)
        moved = FrameCode(own.w_plus, own.residual, torch.tensor([[0.25, 0.0, 0.0]]), own.pose)
        image = system.generate(identity, moved.pack())
        inner = np.s_[:, :, 2:-2, 2:-2]  # beyond, colours are spread
        torch.testing.assert_close(image[..., 32:][inner], still[..., :-32][inner], atol=1e-2, rtol=0)
        turned = FrameCode(own.w_plus, own.residual, torch.tensor([[0.0, 0.0, torch.pi / 2]]), own.pose)
        image = system.generate(identity, turned.pack())
        torch.testing.assert_close(image[inner], still.rot90(-1, (2, 3))[inner], atol=1e-2, rtol=0)  # clockwise

    def test_a_video(self, system, identity, tmp_path):
        """Frames move, and in the square where the driver's face was at first."""
        result = system(identity, DRIVING, duration=0.3)
        frames = list(result)
        assert len(frames) == 8 and frames[0].shape == (128, 128, 3)
        assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 0.5
        path = system(PORTRAIT, DRIVING, duration=0.1, adapt=2).save(tmp_path / "out.mp4")
        with VideoReader(path) as video:
            assert sum(1 for _ in video) == 3

    def test_pose_of_one_and_mouth_of_another(self, system, identity):
        """The pose of a second driver turns the head; the first driver's mouth stays."""
        own = FrameCode.unpack(identity.motion)
        motion = system.encode_motion(DRIVING, duration=1.2)
        codes = torch.cat([batch.codes for batch in motion])
        frames = FrameCode.unpack(codes)
        last = FrameCode(*(value[-1:] for value in vars(frames).values()))
        mixed, turned = (last.taking(position=own, pose=pose, local=last, residual=last) for pose in (own, last))
        angles = angles_of(system, torch.cat([system.generate(identity, code.pack()) for code in (mixed, turned)]))
        wanted = torch.cat([own.pose, last.pose])
        assert (wanted[0, 0] - wanted[1, 0]).abs() > 12
        assert ((angles - wanted)[:, 0].abs() < 10).all()


class TestCheckpoint:
    def test_saved_and_loaded(self, system, identity, tmp_path):
        system.save_pretrained(tmp_path)
        for loaded in (load_pipeline(tmp_path), Video2StyleGANPipeline.from_pretrained(tmp_path)):
            assert isinstance(loaded, Video2StyleGANAdapterPipeline) and loaded.config.pose_apart
            image = loaded.generate(identity, identity.motion)
            torch.testing.assert_close(image, system.generate(identity, identity.motion), atol=2e-3, rtol=0)

    def test_a_checkpoint_without_motion_heads_is_refused(self, tmp_path):
        make_tiny_pipeline(refinement=False).save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="motion_heads"):
            load_pipeline(tmp_path, system="video2stylegan")

    def test_components_that_do_not_fit(self, system):
        other = make_tiny_pipeline(refinement=False)
        with pytest.raises(OptionError, match="number of codes is 12, expected 10"):
            Video2StyleGANAdapterPipeline(other.generator, system.inversion, system.pose)


class TestCommandLine:
    def test_two_drivers(self, run_cli, tmp_path):
        out = tmp_path / "out.mp4"
        options = ["--system", "video2stylegan", "--adapt", "0", "--duration", "0.1", "-o", out]
        options += ["--co-driving", DRIVING, "--pose", "co_driving", "--local", "driving", "--weight", "zeta=0.3"]
        status, _, error = run_cli("reenact", PORTRAIT, DRIVING, *options)
        assert status == 0 and out.stat().st_size > 500, error

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--local", "source"], "--local is an option of --system video2stylegan"),
            (["--system", "video2stylegan", "--weight", "eta=1"], "--weight is 'eta=1'; expected NAME=VALUE"),
            (["--system", "video2stylegan", "--weight", "zeta=much"], "expected a number after '='"),
            (["--system", "video2stylegan", "--position", "there"], "`position` is 'there'"),
        ],
    )
    def test_what_is_refused(self, run_cli, tmp_path, options, message):
        status, _, error = run_cli("reenact", PORTRAIT, DRIVING, *options, "-o", tmp_path / "out.mp4")
        assert status == 2 and message in error.replace("\n", " ")


def test_a_moved_picture_shows_nothing_twice():
    images = torch.zeros(1, 3, 32, 32)
    images[:, :, 20:24, 8:12] = 1.0  # what would be seen twice in a reflection
    images[:, :, :, 16:] += 0.25
    found = moved(images, image_motion(torch.tensor([[0.0, -0.375, 0.0]])))  # up by 12 pixels
    assert torch.allclose(found[:, :, :18, 2:-2], images[:, :, 12:30, 2:-2], atol=1e-5)
    below = found[:, :, 20:]
    assert below.max() < 0.3 and below[..., :15].mean() < below[..., 17:].mean() - 0.1
