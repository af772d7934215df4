"""The supervised stage: its pure functions, its table of terms, and that pairs do not mix."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from training.ground_truth import IdentityEmbeddings, MotionLabelEncoder, code_error, identity_code_error
from training.losses import edges, motion_error, psnr, pyramid_l1
from training.preset import read_preset
from training.stages.supervised import SupervisedOptions, SupervisedStage
from training.stages.supervised.labels import contrast_gain, labels_of_driving, labels_of_sources
from training.stages.supervised.rendering import render_grids
from training.stages.supervised.terms import TERMS, encoder_distances, motion_code_errors, recognizer_distances
from vivface.errors import OptionError
from vivface.models import StyleGAN2Generator

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

    @pytest.mark.parametrize("size", [4, 8, 16, 32])
    def test_rgb_layer_holds_a_picture_of_that_size(self, size):
        generator = StyleGAN2Generator(32, style_dim=8, mapping_layers=1, channels=[4] * 4, motion_codes=2)
        styles = generator.to_stylespace(generator.sample_latents(1))
        state = generator(styles=styles, stop_after=generator.rgb_layer(size))
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


@pytest.fixture(scope="module")
def stage(people):
    torch.manual_seed(0)
    return SupervisedStage(read_preset("tiny-supervised", [f"data.folders=[{people}]"]), Accelerator())


class TestCodes:
    def test_codes_of_the_labels_drive_the_first_grids(self, stage):
        networks = {name: network.eval() for name, network in stage.networks.items()}
        source, driving = torch.rand(2, 2, 3, 128, 128) * 2 - 1, torch.rand(2, 2, 3, 3, 128, 128) * 2 - 1

        def render(teacher=None):
            with torch.no_grad():
                return render_grids(
                    networks,
                    source,
                    driving,
                    coarse_layer=stage.coarse_layer,
                    full_size=None,
                    refine=False,
                    teacher=teacher,
                )

        plain = render()
        codes = plain.motion[4:].unflatten(0, (2, 2, 3))[:1, 0]
        same, other = render(codes), render(codes + 1)
        assert torch.allclose(plain.images.small, same.images.small, atol=1e-5)
        assert (plain.images.small[:6] - other.images.small[:6]).abs().max() > 1e-5
        assert torch.allclose(plain.images.small[6:], other.images.small[6:], atol=1e-5)

    def test_code_error_is_a_fraction_of_the_variance(self):
        target = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0))
        assert code_error(target, target).item() == pytest.approx(0.0)
        still = target.mean(0).expand_as(target)
        assert code_error(still, target).item() == pytest.approx(1.0, abs=1e-5)

    def test_labels_are_standardised(self):
        encoder = MotionLabelEncoder(140, 3, 8)
        examples = torch.randn(50, 140) * 7 + 3
        encoder.measure(examples)
        codes = encoder(examples)
        assert codes.shape == (50, 3, 8) and codes.mean(0).abs().max() < 1e-3
        assert codes.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.25)

    def test_labels_are_decoded_from_their_codes(self):
        encoder = MotionLabelEncoder(140, 10, 32)
        labels = torch.randn(50, 140).clamp(-2, 2)
        encoder.measure(labels)
        controls, angles = encoder.decode(encoder(labels) - encoder(labels[:1]))
        change = (labels - labels[:1]) / encoder.std
        assert torch.allclose(controls, change[:, :2], atol=1e-3)
        assert torch.allclose(angles, change[:, 2:4], atol=1e-3)

    @pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
    def test_errors_of_motion_codes(self, stage, precision):
        batch, encoder = stage.dataset()[0], stage.networks["motion_labels"]
        sources, driving = labels_of_sources(batch), labels_of_driving(batch)
        assert len(sources) == batch["source"].shape[:2].numel()
        assert len(driving) == batch["driving"].shape[:3].numel()
        with torch.no_grad():
            target = encoder(torch.cat([sources, driving]))
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            near, far = (motion_code_errors(encoder, codes, target) for codes in (target, target.roll(1, 0)))
        assert near.keys() == {"motion_codes", "controls", "angles"}
        assert all(near[name] < 1e-3 < far[name] for name in near)


class TestIdentityEmbeddings:
    embeddings = IdentityEmbeddings([7, 3, 900_000], 4)

    def test_identities_are_found_by_their_seeds(self):
        rows, known = self.embeddings.rows(torch.tensor([[3, 7], [8, 900_000], [10**9, 0]]))
        assert known.tolist() == [[True, True], [False, True], [False, False]]
        assert rows[known].tolist() == [1, 0, 2]
        assert torch.equal(self.embeddings(torch.tensor([3])), self.embeddings.codes[1:2])

    def test_they_are_found_again_after_loading(self, tmp_path):
        self.embeddings.save_pretrained(tmp_path)
        loaded = IdentityEmbeddings.from_pretrained(tmp_path)
        seeds = torch.tensor([900_000, 7])
        assert torch.equal(loaded(seeds), self.embeddings(seeds))

    def test_the_lookup_stays_on_the_device(self):
        """Values of tensors on the `meta` device cannot be read, so a step that reads them would fail there."""
        embeddings = IdentityEmbeddings([7, 3], 4).to("meta")
        seeds = torch.tensor([3, 7, 8], device="meta")
        error = identity_code_error(torch.zeros(3, 6, 4, device="meta"), seeds, embeddings)
        assert error.shape == () and error.device.type == "meta"

    def test_error_counts_identities_with_an_embedding(self):
        codes = self.embeddings.codes.detach()
        seeds = torch.tensor([3, 8])
        found = torch.stack([codes[1], codes[1] + 100])[:, None].expand(2, 6, 4)
        assert identity_code_error(found, seeds, self.embeddings).item() == pytest.approx(0.0)
        one = identity_code_error(found + 1, seeds, self.embeddings).item()
        assert one == pytest.approx(1 / codes.var(0).mean().item(), rel=1e-4)
        assert identity_code_error(found, torch.tensor([1, 2]), self.embeddings).item() == 0.0


class TestTerms:
    def test_every_term_has_a_weight(self):
        assert set(TERMS) <= set(SupervisedOptions.model_fields)

    def test_terms_join_as_the_run_goes_on_and_those_of_weight_0_are_left_out(self, people):
        changes = [f"data.folders=[{people}]", "options.latent_delta=0"]
        stage = SupervisedStage(read_preset("tiny-supervised", changes), Accelerator())
        codes = {"loss", "psnr_coarse", "motion_share", "motion_codes", "controls", "angles", "motion_norm"}
        full = {"pixels", "psnr", "psnr_stage1"}
        expected = [codes | {"coarse", "motion"}]
        expected += [expected[0] | full, expected[0] | full | {"refined", "aligned"}]
        for step, names in enumerate(expected):
            stage.progress.step = step
            scalars = stage.step(stage.dataset()[step])
            assert set(scalars) == names
            terms = [value for name, value in scalars.items() if name in TERMS]
            assert sum(terms).item() == pytest.approx(scalars["loss"].item(), rel=1e-5)

    @pytest.mark.parametrize("size", [32, 256])
    def test_coarse_size(self, size, people):
        changes = [f"data.folders=[{people}]", f"options.coarse_size={size}"]
        with pytest.raises(OptionError, match=f"coarse_size is {size}, expected 64 to 128"):
            SupervisedStage(read_preset("tiny-supervised", changes), Accelerator())


class TestFrozenEncoder:
    encoder = "{image_size: 128, widths: [4, 4, 4, 8, 16], units: [1, 1, 1, 1], num_latents: 12, style_dim: 16}"

    @pytest.fixture(scope="class")
    @classmethod
    def taught(cls, people):
        changes = [f"data.folders=[{people}]", f"networks.frozen_encoder={cls.encoder}", "options.encoder_codes=1"]
        changes += ["options.encoder_features=1", "options.full_size_identities=1", "options.contrast=0.5"]
        changes += ["options.motion_refined=1"]
        return SupervisedStage(read_preset("tiny-supervised", changes), Accelerator())

    def test_it_finds_nothing_between_equals_and_more_the_further_they_are(self, taught):
        target, other = (torch.rand(4, 3, 128, 128) * 2 - 1 for _ in range(2))
        networks = taught.networks["frozen_encoder"], taught.networks["motion_labels"]
        with torch.no_grad():
            same, near, far = (
                torch.stack(encoder_distances(*networks, target.lerp(other, share), target))
                for share in (0.0, 0.1, 1.0)
            )
        assert same.abs().max() < 1e-6 and (near > 0).all() and (near < far).all()

    def test_a_step_learns_from_it_and_leaves_it_as_it_is(self, taught):
        before = {name: weight.clone() for name, weight in taught.networks["frozen_encoder"].state_dict().items()}
        taught.progress.step = 3  # of 4: full size, refined
        scalars = taught.step(taught.dataset()[0])
        for name in ("encoder_features", "encoder_codes", "motion_refined"):
            assert scalars[name] > 0
        after = taught.networks["frozen_encoder"].state_dict()
        assert all(torch.equal(weight, after[name]) for name, weight in before.items())
        gradients = [p.grad for p in taught.networks["refinement"].parameters()]
        assert any(g is not None and g.abs().max() > 0 for g in gradients)


class TestRecognizer:
    network = "{widths: [4, 4, 4, 4, 8], units: [1, 1, 1, 1], embedding_dim: 8, image_size: 32}"

    @pytest.fixture(scope="class")
    @classmethod
    def taught(cls, people):
        changes = [f"data.folders=[{people}]", f"networks.recognizer={cls.network}"]
        changes += ["options.identity=1", "options.perceptual=1"]
        torch.manual_seed(0)
        return SupervisedStage(read_preset("tiny-supervised", changes), Accelerator())

    def test_equals_are_alike_at_any_size_and_others_less_the_further_they_are(self, taught):
        targets = torch.rand(4, 3, 64, 64) * 2 - 1, torch.rand(2, 3, 128, 128) * 2 - 1
        others = [torch.rand_like(target) * 2 - 1 for target in targets]

        def distances(share: float) -> torch.Tensor:
            pairs = [(x.lerp(y, share), x) for x, y in zip(targets, others, strict=True)]
            return torch.stack(recognizer_distances(taught.networks["recognizer"], pairs))

        with torch.no_grad():
            same, near, far = map(distances, (0.0, 0.2, 1.0))
        assert same.abs().max() < 1e-5 and (near > 0).all() and (near < far).all()

    def test_coarse_and_full_images_learn_from_it_and_it_stays_as_it_is(self, taught):
        network = taught.networks["recognizer"]
        before = {name: value.clone() for name, value in network.state_dict().items()}
        for step in (0, 3):  # of 4: coarse only; full size and refined
            taught.progress.step = step
            scalars = taught.step(taught.dataset()[0])
            assert scalars["identity"] > 0 and scalars["perceptual"] > 0
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class TestRendering:
    @torch.no_grad()
    def test_pairs_do_not_mix(self, stage):
        """Each of 2 grids x 2 identities x 3 motions is, in every image, what its two frames give alone."""
        networks = {name: network.eval() for name, network in stage.networks.items()}
        for layer in (networks["refinement"].modulator.scale2, networks["refinement"].modulator.shift2):
            nn.init.normal_(layer.weight)
        source, driving = torch.rand(2, 2, 3, 128, 128) * 2 - 1, torch.rand(2, 2, 3, 3, 128, 128) * 2 - 1

        def render(source, driving, pairs):
            full_size = torch.tensor(pairs)
            return render_grids(
                networks, source, driving, coarse_layer=stage.coarse_layer, full_size=full_size, refine=True
            ).images

        chosen = [10, 0, 5]
        images = render(source, driving, chosen)
        assert images.small.shape == (12, 3, 64, 64) and images.refined.shape == (3, 3, 128, 128)
        for place, pair in enumerate(chosen):
            grid, identity, motion = pair // 6, pair // 3 % 2, pair % 3
            alone = render(source[grid, identity][None, None], driving[grid, 0, motion][None, None, None], [0])
            assert torch.allclose(images.small[pair], alone.small[0], atol=1e-4)
            for name in ("image", "refined", "aligned"):
                assert torch.allclose(getattr(images, name)[place], getattr(alone, name)[0], atol=1e-4)
        assert (images.image - images.refined).abs().max() > 1e-3
        assert (images.small[0] - images.small[1]).abs().max() > 1e-5  # driving frames matter
        assert (images.small[0] - images.small[3]).abs().max() > 1e-3  # sources matter
