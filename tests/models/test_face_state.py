"""The face state network at a small size, and the one that comes with the package on a photograph."""

import numpy as np
import pytest
import torch

from tests.clips import portrait
from tests.conftest import REPOSITORY
from tests.models.roundtrip import check_half_storage, check_round_trip
from training.evaluation.face_measures import landmark_error
from training.synthetic.motion import CONTROLS as RENDERED
from vivface.faces import get_backend
from vivface.faces.alignment import crop_quad, ffhq_quad
from vivface.faces.state import read_state
from vivface.media.tensors import to_tensor
from vivface.models import FaceStateNetwork
from vivface.models.face_state import CONTROLS, EYE_SAMPLES, expected_positions

CONFIG = {"image_size": 32, "widths": (8, 8, 8, 8, 8), "units": (1, 1, 1, 1), "join": 8}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FaceStateNetwork(**CONFIG).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def bundled():
    return FaceStateNetwork.from_pretrained().requires_grad_(False)


class TestOutput:
    def test_shapes(self, network):
        output = network(torch.randn(3, 3, 32, 32))
        assert (
            output.pose.shape == (3, 3) and output.controls.shape == (3, len(CONTROLS)) and output.gaze.shape == (3, 2)
        )
        assert output.landmarks.shape == output.rough_landmarks.shape == (3, 68, 2)
        assert output.heat.shape == (3, 68, 8, 8)
        assert all(value.dtype == torch.float32 for value in output.values())

    def test_gaze_is_two_of_the_controls_in_degrees(self, network):
        output = network(torch.randn(2, 3, 32, 32))
        places = [CONTROLS.index("gaze_x"), CONTROLS.index("gaze_y")]
        assert torch.equal(output.gaze, output.controls[:, places] * 20)

    def test_state_comes_in_the_units_of_the_truth(self, network):
        image = torch.randn(1, 3, 32, 32)
        before = network(image)
        other = FaceStateNetwork(**CONFIG).eval()
        other.load_state_dict(network.state_dict())
        other.mean[:3], other.deviation[:3] = torch.tensor([5.0, -2.0, 1.0]), torch.tensor([10.0, 7.0, 4.0])
        assert torch.allclose(other(image).pose, before.pose * other.deviation[:3] + other.mean[:3], atol=1e-5)

    def test_gradients_of_everything_reach_the_image(self, network):
        for name in ("pose", "controls", "gaze", "landmarks"):
            image = torch.randn(1, 3, 32, 32, requires_grad=True)
            network(image)[name].square().sum().backward()
            assert image.grad.isfinite().all() and (image.grad != 0).float().mean() > 0.5

    def test_the_window_shows_the_eye(self, network):
        """A bright dot at the middle of the landmarks of an eye lies in the middle of what the eye's layers see."""
        rough = torch.full((1, 68, 2), 0.5)
        rough[:, 36:42], rough[:, 42:48] = torch.tensor([10.5 / 32, 14.5 / 32]), torch.tensor([21.5 / 32, 12.5 / 32])
        image = torch.zeros(1, 3, 32, 32)
        image[..., 14, 10] = image[..., 12, 21] = 1.0
        seen = []
        hook = network.eye.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        for side in (0, 1):
            network._eye(image, rough, side)
        hook.remove()
        for window in seen:
            assert window.shape[2:] == EYE_SAMPLES[::-1]
            y, x = np.unravel_index(int(window[0, 0].argmax()), EYE_SAMPLES[::-1])
            assert abs(x - 15.5) <= 0.5 and abs(y - 11.5) <= 0.5

    def test_wrong_arguments(self, network):
        with pytest.raises(ValueError, match=r"expected \(batch, 3, 32, 32\)"):
            network(torch.zeros(1, 3, 64, 64))
        with pytest.raises(ValueError, match="multiple of 32"):
            FaceStateNetwork(image_size=100)
        with pytest.raises(ValueError, match="gaze_y"):
            FaceStateNetwork(controls=("jaw_open", "gaze_x"))
        with pytest.raises(ValueError, match="expected 5 and 4"):
            FaceStateNetwork(widths=(8, 8))


class TestPositions:
    def test_of_peaks(self):
        heat = torch.full((1, 2, 8, 8), -50.0)
        heat[0, 0, 2, 5] = heat[0, 1, 7, 0] = heat[0, 1, 7, 1] = 0.0
        expected = torch.tensor([[5.5 / 8, 2.5 / 8], [1.0 / 8, 7.5 / 8]])
        assert torch.allclose(expected_positions(heat)[0], expected, atol=1e-6)

    def test_an_even_map_gives_the_middle(self):
        assert torch.allclose(expected_positions(torch.zeros(1, 1, 4, 6)), torch.tensor([0.5, 0.5]))


class TestSaving:
    def test_round_trip(self, network, tmp_path):
        loaded, image = check_round_trip(network, tmp_path), torch.randn(1, 3, 32, 32)
        assert torch.equal(loaded(image).landmarks, network(image).landmarks)

    def test_half_storage(self, tmp_path):
        check_half_storage(FaceStateNetwork(**CONFIG), tmp_path)


def test_it_judges_nothing():
    """It may teach runs, so none of what scores runs may read faces with it."""
    judges = [
        *(REPOSITORY / "vivface" / "metrics").glob("*.py"),
        *(REPOSITORY / "training" / "evaluation").glob("*.py"),
    ]
    judges += [*(REPOSITORY / "vivface" / "cli").glob("evaluat*.py"), REPOSITORY / "training" / "tools" / "evaluate.py"]
    assert len(judges) > 20
    assert [path.name for path in judges if "FaceStateNetwork" in path.read_text(encoding="utf-8")] == []


def test_controls_are_those_of_the_renders():
    assert CONTROLS == tuple(RENDERED)


class TestBundled:
    """On a photograph, against what the tracker sees there."""

    @pytest.fixture(scope="class")
    def face(self):
        return get_backend().detect(portrait())[0]

    def read(self, bundled, face, mirror: bool = False):
        crop = crop_quad(portrait(), ffhq_quad(face.landmarks), bundled.config.image_size)
        return bundled(to_tensor([np.ascontiguousarray(crop[:, ::-1]) if mirror else crop]))

    def test_landmarks_lie_on_the_face(self, bundled, face):
        quad = ffhq_quad(face.landmarks)
        truth = (face.landmarks - quad[0]) @ np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]]))
        assert landmark_error(self.read(bundled, face).landmarks[0].numpy(), truth) < 12

    def test_pose_is_near_that_of_the_tracker(self, bundled, face):
        state, pose = read_state(face.points), self.read(bundled, face).pose[0]
        assert pose[0].item() == pytest.approx(state.yaw, abs=8) and pose[1].item() == pytest.approx(
            state.pitch, abs=10
        )

    def test_the_mirror_turns_the_head(self, bundled, face):
        here, there = self.read(bundled, face), self.read(bundled, face, mirror=True)
        assert here.pose[0, 0].item() == pytest.approx(-there.pose[0, 0].item(), abs=4)
        places = [CONTROLS.index(name) for name in ("smile_left", "smile_right")]
        assert here.controls[0, places].flip(0) == pytest.approx(there.controls[0, places].numpy(), abs=0.3)

    def test_fits_the_bundle(self, bundled):
        assert sum(tensor.numel() for tensor in bundled.state_dict().values()) * 2 < 3.2e6
