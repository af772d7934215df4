"""The dense motion network at a small size: outputs, missing cues, and that its candidates mean what they say."""

import pytest
import torch

from tests.models.roundtrip import check_half_storage, check_round_trip
from vivface.models.dense_motion import DenseMotionNetwork
from vivface.models.landmark_warp import thin_plate_flow

SIZE = 32


@pytest.fixture
def network() -> DenseMotionNetwork:
    torch.manual_seed(0)
    return DenseMotionNetwork(image_size=SIZE, widths=(8, 8, 8)).eval()


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = {n: torch.rand(2, 3, SIZE, SIZE, generator=generator) * 2 - 1 for n in ("portrait", "own", "driven")}
    landmarks = torch.rand(2, 68, 2, generator=generator) - 0.5
    return images | {"landmarks": landmarks, "moved": landmarks + 0.1}


def run(network: DenseMotionNetwork, inputs: dict, images: bool = True, landmarks: bool = True):
    portrait = network.encode_portrait(
        inputs["portrait"], inputs["own"] if images else None, inputs["landmarks"] if landmarks else None
    )
    return network(portrait, inputs["driven"] if images else None, inputs["moved"] if landmarks else None)


class TestOutput:
    @pytest.fixture(autouse=True)
    def without_gradients(self):
        with torch.no_grad():
            yield

    @pytest.mark.parametrize(("images", "landmarks"), [(True, True), (True, False), (False, True)])
    def test_any_cue_is_enough(self, network, inputs, images, landmarks):
        output = run(network, inputs, images, landmarks)
        assert output.flow.shape == (2, 2, SIZE, SIZE)
        assert output.mask.shape == output.occlusion.shape == (2, 1, SIZE, SIZE)
        assert output.matched.shape == (2, 2, SIZE // 8, SIZE // 8)
        assert all(value.isfinite().all() for value in output.values())

    def test_an_untrained_network_mixes_its_candidates_evenly(self, network, inputs):
        output = run(network, inputs)
        spline = thin_plate_flow(inputs["moved"], inputs["landmarks"], SIZE // 2)
        matched = torch.nn.functional.interpolate(output.matched, scale_factor=4, mode="bilinear")
        mixed = torch.nn.functional.interpolate((spline + matched) / 3, scale_factor=2, mode="bilinear")
        torch.testing.assert_close(output.flow, mixed, atol=1e-5, rtol=0)

    def test_one_portrait_serves_many_frames(self, network, inputs):
        one = {name: value[:1] for name, value in inputs.items()}
        portrait = network.encode_portrait(one["portrait"], one["own"], one["landmarks"])
        together = network(portrait, inputs["driven"], inputs["moved"]).flow
        for index in range(2):
            frame = network(portrait, inputs["driven"][index : index + 1], inputs["moved"][index : index + 1]).flow
            torch.testing.assert_close(together[index : index + 1], frame, atol=1e-3, rtol=0)

    def test_positions_keep_their_bits_in_mixed_precision(self, network, inputs):
        exact = run(network, inputs, images=False).flow
        with torch.autocast("cpu", torch.bfloat16):
            mixed = run(network, inputs, images=False).flow
        assert mixed.dtype == torch.float32
        assert (exact - mixed).abs().mean() < 0.01


class TestTraining:
    def test_every_weight_gets_a_gradient(self, network, inputs):
        network.train()
        torch.nn.init.normal_(network.mix.weight, std=0.1)
        torch.nn.init.normal_(network.finish.weight, std=0.1)
        output = run(network, inputs)
        sum(value.square().mean() for value in output.values()).backward()
        assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


class TestErrors:
    def test_some_cue_is_needed(self, network, inputs):
        portrait = network.encode_portrait(inputs["portrait"])
        with pytest.raises(ValueError, match="`driven` and `landmarks` are both missing"):
            network(portrait)
        with pytest.raises(ValueError, match="give those to `encode_portrait`"):
            network(portrait, landmarks=inputs["moved"])

    def test_images_of_another_size(self, network):
        with pytest.raises(ValueError, match=r"`portrait` has shape \(1, 3, 64, 64\); expected \(batch, 3, 32, 32\)"):
            network.encode_portrait(torch.zeros(1, 3, 64, 64))

    def test_an_odd_size(self):
        with pytest.raises(ValueError, match="`image_size` is 40; expected a multiple of 16"):
            DenseMotionNetwork(image_size=40)


class TestStorage:
    def test_saved_and_loaded(self, network, tmp_path):
        check_round_trip(network, tmp_path)

    def test_half_precision(self, network, tmp_path):
        check_half_storage(network, tmp_path)
