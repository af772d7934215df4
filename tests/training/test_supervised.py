"""The known-truth stage: its pure functions, and that pairs do not mix."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from training.arguments import read_preset
from training.ground_truth import PersonCodes, TruthCodes, code_error
from training.losses import edges, motion_error, psnr, pyramid_l1
from training.stages.supervised import (
    SupervisedStage,
    contrast_gain,
    freeze_batch_norm,
    pick,
    truth_of_drivers,
    truth_of_sources,
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


class TestMotionError:
    """One grid of two people and two motions."""

    target = torch.rand(1, 2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    weight = torch.ones(1, 2, 2, 1, 8, 8)

    def test_full_motion_has_no_error_whatever_the_person_looks_like(self):
        error, share = motion_error(self.target + torch.rand(1, 2, 1, 3, 8, 8), self.target, self.weight)
        assert error.item() == pytest.approx(0.0, abs=1e-5) and share.item() == pytest.approx(1.0, abs=1e-5)

    def test_a_still_picture_misses_everything(self):
        error, share = motion_error(torch.zeros_like(self.target), self.target, self.weight)
        assert error.item() == pytest.approx(1.0) and share.item() == pytest.approx(0.0)

    def test_half_the_motion(self):
        error, share = motion_error(self.target / 2, self.target, self.weight)
        assert error.item() == pytest.approx(0.25) and share.item() == pytest.approx(0.5)

    def test_the_other_way(self):
        assert motion_error(-self.target, self.target, self.weight)[0].item() == pytest.approx(4.0)


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
    def test_rgb_layer_holds_a_picture_of_that_size(self, size):
        generator = StyleGAN2Generator(32, style_dim=8, mapping_layers=1, channels=[4] * 4, motion_codes=2)
        styles = generator.to_stylespace(generator.sample_latents(1))
        state = generator.synthesize(styles, stop_after=generator.rgb_layer(size))
        assert state.rgb.shape == (1, 3, size, size)

    def test_faces_of_little_contrast_count_more_wherever_they_are(self):
        picture = torch.rand(1, 3, 8, 8) - 0.5
        images, regions = torch.cat([picture, picture * 0.5 - 0.4]), torch.zeros(2, 4, 8, 8)
        regions[:, 0, 2:6, 2:6] = 1
        gain = contrast_gain(images, regions)
        assert gain.shape == (2, 1, 1, 1) and (gain[1] / gain[0]).item() == pytest.approx(2.0, rel=1e-4)
        images[0, ..., 7] = 1.0  # outside the face
        assert torch.allclose(contrast_gain(images, regions), gain)
        images[1] = 0.0
        assert contrast_gain(images, regions)[1].item() == 3.0  # not without end

    def test_frozen_statistics_stay_as_they_are(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
        freeze_batch_norm(network)
        network(torch.randn(4, 3, 4, 4))
        assert network.training and (network[1].running_mean == 0).all()


@pytest.fixture(scope="module")
def stage(people):
    torch.manual_seed(0)
    return SupervisedStage(read_preset("tiny-supervised", [f"data.folders=[{people}]"]), Accelerator())


class TestCodes:
    def test_codes_of_the_truth_drive_the_first_grids(self, stage):
        with torch.no_grad():
            networks = {name: network.eval() for name, network in stage.networks.items()}
            source, driver = torch.rand(2, 2, 3, 128, 128) * 2 - 1, torch.rand(2, 2, 3, 3, 128, 128) * 2 - 1
            plain = stage.reenact(networks, source, driver, fine=None, refine=False)
            codes = plain.motion[4:].unflatten(0, (2, 2, 3))[:1, 0]
            same = stage.reenact(networks, source, driver, fine=None, refine=False, taught=codes)
            other = stage.reenact(networks, source, driver, fine=None, refine=False, taught=codes + 1)
        assert torch.allclose(plain.coarse, same.coarse, atol=1e-5)
        assert (plain.coarse[:6] - other.coarse[:6]).abs().max() > 1e-5
        assert torch.allclose(plain.coarse[6:], other.coarse[6:], atol=1e-5)

    def test_code_error_is_a_part_of_the_variance(self):
        true = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
        assert code_error(true, true).item() == pytest.approx(0.0)
        still = true.mean(0).expand_as(true)
        assert code_error(still, true).item() == pytest.approx(1.0, abs=1e-5)

    def test_truths_are_brought_to_one_scale(self):
        codes = TruthCodes(140, 3, 8)
        examples = torch.randn(50, 140) * 7 + 3
        codes.measure(examples)
        found = codes(examples)
        assert found.shape == (50, 3, 8) and found.mean(0).abs().max() < 1e-3
        assert found.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.25)

    def test_truths_are_read_in_their_codes(self):
        codes = TruthCodes(140, 10, 32)
        truths = torch.randn(50, 140).clamp(-2, 2)
        codes.measure(truths)
        controls, angles = codes.read(codes(truths) - codes(truths[:1]))
        change = (truths - truths[:1]) / codes.spread
        assert torch.allclose(controls, change[:, :2], atol=1e-3)
        assert torch.allclose(angles, change[:, 2:4], atol=1e-3)

    @pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
    def test_terms_of_motion_codes(self, stage, precision):
        batch = stage.dataset()[0]
        with torch.no_grad():
            sources, drivers = truth_of_sources(batch), truth_of_drivers(batch)
            right = stage.networks["truth"](torch.cat([sources, drivers]))
        assert len(sources) == batch["source"].shape[:2].numel() and len(drivers) == batch["driver"].shape[:3].numel()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            near = stage.motion_terms(right, batch)
            far = stage.motion_terms(right.roll(1, 0), batch)
        for name in ("truth", "controls", "angles"):
            assert near[name] < 1e-3 < far[name]

    def test_people_are_found_by_their_seeds(self):
        people = PersonCodes([7, 3], 4)
        assert people.rows(torch.tensor([[3, 7], [8, 3]])).tolist() == [[1, 0], [-1, 1]]
        assert torch.equal(people(torch.tensor([3])), people.codes[1:])


class TestJudge:
    encoder = "{image_size: 128, widths: [4, 4, 4, 8, 16], units: [1, 1, 1, 1], num_latents: 12, style_dim: 16}"

    @pytest.fixture(scope="class")
    def judged(self, people):
        changes = [f"data.folders=[{people}]", f"networks.judge={self.encoder}", "options.judged=1"]
        changes += ["options.features=1", "options.fine=1", "options.contrast=0.5", "options.motion_refined=1"]
        return SupervisedStage(read_preset("tiny-supervised", changes), Accelerator())

    def test_it_finds_nothing_between_equals_and_more_the_further_they_are(self, judged):
        target = torch.rand(4, 3, 128, 128) * 2 - 1
        other = torch.rand(4, 3, 128, 128) * 2 - 1
        with torch.no_grad():
            same, near, far = (torch.stack(judged.judge(target.lerp(other, part), target)) for part in (0.0, 0.1, 1.0))
        assert same.abs().max() < 1e-6 and (near > 0).all() and (near < far).all()

    def test_a_step_lets_it_judge_whole_people_and_leaves_it_as_it_is(self, judged):
        before = {name: weight.clone() for name, weight in judged.networks["judge"].state_dict().items()}
        judged.progress.step = 3  # of 4: full size, refined
        scalars = judged.step(judged.dataset()[0])
        for name in ("features", "judged", "motion_refined"):
            assert scalars[name] > 0
        after = judged.networks["judge"].state_dict()
        assert all(torch.equal(weight, after[name]) for name, weight in before.items())
        gradients = [p.grad for p in judged.networks["refinement"].parameters()]
        assert any(g is not None and g.abs().max() > 0 for g in gradients)


class TestAlike:
    network = "{widths: [4, 4, 4, 4, 8], units: [1, 1, 1, 1], embedding_dim: 8, image_size: 32}"

    @pytest.fixture(scope="class")
    def knowing(self, people):
        changes = [f"data.folders=[{people}]", f"networks.identity={self.network}"]
        changes += ["options.identity=1", "options.perceptual=1"]
        torch.manual_seed(0)
        return SupervisedStage(read_preset("tiny-supervised", changes), Accelerator())

    def test_equals_are_alike_at_any_size_and_others_less_the_further_they_are(self, knowing):
        small, large = torch.rand(4, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 128, 128) * 2 - 1
        others = torch.rand_like(small) * 2 - 1, torch.rand_like(large) * 2 - 1
        with torch.no_grad():
            same, near, far = (
                torch.stack(knowing.alike([(x.lerp(y, part), x) for x, y in zip((small, large), others, strict=True)]))
                for part in (0.0, 0.2, 1.0)
            )
        assert same.abs().max() < 1e-5 and (near > 0).all() and (near < far).all()

    def test_coarse_and_full_pictures_learn_from_a_network_that_stays_as_it_is(self, knowing):
        network = knowing.networks["identity"]
        before = {name: value.clone() for name, value in network.state_dict().items()}
        for step in (0, 3):  # of 4: coarse only; full size and refined
            knowing.progress.step = step
            scalars = knowing.step(knowing.dataset()[0])
            assert scalars["identity"] > 0 and scalars["perceptual"] > 0
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


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
