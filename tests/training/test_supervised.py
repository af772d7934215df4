"""The known-truth stage: its pure functions, and that pairs do not mix."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from training.arguments import read_preset
from training.stages.supervised import (
    SupervisedStage,
    coarse_layer,
    edges,
    freeze_batch_norm,
    pick,
    psnr,
    pyramid_l1,
)
from vivface.models import StyleGAN2Generator
from vivface.models.stylegan2 import SynthesisState

ONES = torch.ones(1, 1, 8, 8)


def image(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class TestPyramid:
    def test_nothing_between_equals(self):
        assert pyramid_l1(image(0), image(0), ONES) == 0

    def test_one_level_without_edges_is_weighted_l1(self):
        weight = torch.rand(1, 1, 8, 8)
        expected = (weight * (image(0) - image(1)).abs()).mean()
        assert torch.allclose(pyramid_l1(image(0), image(1), weight, levels=1, edge_weight=0.0), expected)

    def test_a_constant_difference_counts_alike_at_all_levels_and_has_no_edges(self):
        for levels in (1, 2, 3):
            assert pyramid_l1(image(0) + 0.25, image(0), ONES, levels).item() == pytest.approx(0.25, abs=1e-5)

    def test_edges_of_a_ramp(self):
        ramp = torch.arange(8.0).expand(1, 3, 8, 8)
        across, down = edges(ramp)
        assert (across == 1).all() and across.shape == (1, 3, 8, 7)
        assert (down == 0).all() and down.shape == (1, 3, 7, 8)
        # L1 of the ramp against 0 is 3.5, of its edges 1
        assert pyramid_l1(ramp, torch.zeros_like(ramp), ONES, levels=1, edge_weight=2.0).item() == pytest.approx(5.5)

    def test_pixels_of_no_weight_do_not_count(self):
        weight = torch.ones(1, 1, 8, 8)
        weight[..., 4:] = 0
        changed = image(0).clone()
        changed[..., 6:] += 1  # away from the border, so that coarser levels do not mix it in
        assert pyramid_l1(changed, image(0), weight, levels=2) == 0


class TestSmall:
    def test_psnr(self):
        target = torch.zeros(1, 3, 4, 4)
        assert psnr(target + 0.2, target).item() == pytest.approx(20.0, abs=1e-4)  # rms 0.2 of a range of 2
        assert psnr(target + 9.0, target).item() == pytest.approx(10 * torch.log10(torch.tensor(4.0)).item(), abs=1e-4)

    def test_pick(self):
        state = SynthesisState("convs.6", torch.arange(4.0).view(4, 1, 1, 1), -torch.arange(4.0).view(4, 1, 1, 1))
        picked = pick(state, torch.tensor([3, 1]))
        assert picked.layer == "convs.6"
        assert picked.feature.flatten().tolist() == [3.0, 1.0] and picked.rgb.flatten().tolist() == [-3.0, -1.0]
        assert len(state.feature) == 4

    @pytest.mark.parametrize("size", [4, 8, 16, 32])
    def test_coarse_layer_holds_a_picture_of_that_size(self, size):
        generator = StyleGAN2Generator(32, style_dim=8, mapping_layers=1, channels=[4] * 4, motion_codes=2)
        styles = generator.to_stylespace(generator.sample_latents(1))
        state = generator.synthesize(styles, stop_after=coarse_layer(generator, size))
        assert state.rgb.shape == (1, 3, size, size)

    def test_frozen_statistics_stay_as_they_are(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
        freeze_batch_norm(network)
        network(torch.randn(4, 3, 4, 4))
        assert network.training and (network[1].running_mean == 0).all()


@pytest.fixture(scope="module")
def stage(people):
    torch.manual_seed(0)
    return SupervisedStage(read_preset("tiny-supervised", [f"data.folders=[{people}]"]), Accelerator())


class TestReenact:
    @torch.no_grad()
    def test_pairs_do_not_mix(self, stage):
        """Each of 2 grids x 2 people x 3 motions is, coarse, first and refined, what source and driver give alone."""
        networks = {name: network.eval() for name, network in stage.networks.items()}
        for layer in (networks["refinement"].modulator.scale2, networks["refinement"].modulator.shift2):
            nn.init.normal_(layer.weight)
        source, driver = torch.rand(2, 2, 3, 128, 128) * 2 - 1, torch.rand(2, 2, 3, 3, 128, 128) * 2 - 1
        fine = torch.tensor([10, 0, 5])
        made = stage.reenact(networks, source, driver, fine=fine, refine=True)
        assert made.coarse.shape == (12, 3, 64, 64) and made.refined.shape == (3, 3, 128, 128)
        for place, pair in enumerate(fine.tolist()):
            grid, person, motion = pair // 6, pair // 3 % 2, pair % 3
            one_source, one_driver = source[grid, person][None, None], driver[grid, 0, motion][None, None, None]
            alone = stage.reenact(networks, one_source, one_driver, fine=torch.tensor([0]), refine=True)
            assert torch.allclose(made.coarse[pair], alone.coarse[0], atol=1e-4)
            assert torch.allclose(made.image[place], alone.image[0], atol=1e-4)
            assert torch.allclose(made.refined[place], alone.refined[0], atol=1e-4)
            assert torch.allclose(made.aligned[place], alone.aligned[0], atol=1e-4)
        assert (made.image - made.refined).abs().max() > 1e-3
        assert (made.coarse[0] - made.coarse[1]).abs().max() > 1e-5  # drivers matter
        assert (made.coarse[0] - made.coarse[3]).abs().max() > 1e-3  # sources matter
