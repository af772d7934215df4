"""Tunings: algebra of the losses, proofs on toys, frozen networks, options, stopping."""

import pytest
import torch
from torch import nn

from tests.motion import ListedMotion
from tests.tiny import make_tiny_hybrid, make_tiny_pipeline
from vivface.errors import NoFaceError, OptionError
from vivface.reenactment.cyclic_tuning import cyclic_loss, tune_cyclically
from vivface.reenactment.pivotal_tuning import locality_loss, tune_pivotally
from vivface.reenactment.tuning import BestStep, Face, Tuning, TuningNetworks, descend

PIXELS, HALF = 16, 8  # a toy image has 16 numbers: 8 of identity, 8 of motion


class ToyNetworks(TuningNetworks):
    """G is linear and invertible in identity and motion, E its exact inverse."""

    def __init__(self):
        random = torch.Generator().manual_seed(0)
        matrix = torch.linalg.qr(torch.randn(PIXELS, PIXELS, generator=random))[0]
        self.generator, self.encoder = nn.Linear(PIXELS, PIXELS, bias=False), nn.Linear(PIXELS, PIXELS, bias=False)
        with torch.no_grad():
            self.generator.weight.copy_(matrix)
            self.encoder.weight.copy_(matrix.T)
        self.generator.requires_grad_(False)
        self.encoder.requires_grad_(False)
        self.transformer = self.refinement = self.recognizer = None

    def pool(self, images):
        return images

    def read(self, images):
        codes = self.encoder(images.flatten(1))
        return Face(codes[:, :HALF], codes[:, HALF:])

    def show(self, w_plus, deformation, generator=None):
        w_plus = w_plus.expand(len(deformation), -1)
        return (generator or self.generator)(torch.cat([w_plus, deformation], dim=1)).view(-1, 1, 4, 4)


def toy_images(count: int, seed: int) -> torch.Tensor:
    return torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


class TestCycleOnToys:
    def test_an_exact_inverse_has_nothing_to_learn(self):
        """Loss 0 and gradient 0, for any source and driver."""
        networks, source, drivers = ToyNetworks(), toy_images(1, 1), toy_images(3, 2)
        networks.generator.requires_grad_(True)
        loss = cyclic_loss(networks, networks.read(source), source, networks.read(drivers), drivers)
        loss.backward()
        assert loss < 1e-10 and networks.generator.weight.grad.abs().max() < 1e-5

    def test_generator_stays_where_there_is_nothing_to_learn(self):
        """By plain descent; Adam would blow rounding errors up to its full step."""
        networks, source, drivers = ToyNetworks(), toy_images(1, 1), toy_images(3, 2)
        before = networks.generator.weight.clone()
        networks.generator.requires_grad_(True)
        optimizer = torch.optim.SGD(networks.generator.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            cyclic_loss(networks, networks.read(source), source, networks.read(drivers), drivers).backward()
            optimizer.step()
        torch.testing.assert_close(networks.generator.weight, before, atol=1e-5, rtol=0)

    def test_a_source_out_of_range_is_learnt(self):
        """The generator cannot show the source at its code: the loss falls with every step of a small rate."""
        networks, source, drivers = ToyNetworks(), toy_images(1, 1), toy_images(1, 2)
        face, driver = networks.read(source), networks.read(drivers)
        shifted = source + 0.5
        losses = []

        def loss_of(_: int) -> torch.Tensor:
            loss = cyclic_loss(networks, face, shifted, driver, drivers)
            losses.append(loss.item())
            return loss

        networks.generator.requires_grad_(True)
        encoder = networks.encoder.weight.clone()
        descend(networks.generator.parameters(), loss_of, 30, 1e-3, device=torch.device("cpu"))
        assert all(after < before for before, after in zip(losses, losses[1:], strict=False))
        assert torch.equal(networks.encoder.weight, encoder)

    def test_by_hand(self):
        """G and E twice and half of what they are: X = 2 a codes; both cycles are twice the images."""
        networks, source, drivers = ToyNetworks(), toy_images(1, 1), toy_images(2, 2)
        face, driver = networks.read(source), networks.read(drivers)
        with torch.no_grad():
            networks.generator.weight.mul_(2)
        # E(X) = 2 (W_S, S_D); I_S' = 2 G(2 W_S, S_S), I_D' = 2 G(W_D, 2 S_D). G keeps lengths, so squares add up.
        expected = (9 * face.w_plus.square().sum() + face.motion.square().sum()) / PIXELS
        expected += (driver.w_plus.square().sum() + 9 * driver.motion.square().sum()) / (2 * PIXELS)
        torch.testing.assert_close(cyclic_loss(networks, face, source, driver, drivers), expected)

    def test_tuning_lowers_the_loss(self):
        networks, source, drivers = ToyNetworks(), toy_images(1, 1), toy_images(3, 2)
        face, shifted = networks.read(source), source + 0.5
        before = cyclic_loss(networks, face, shifted, networks.read(drivers), drivers)
        tune_cyclically(networks, face, shifted, drivers, 50, learning_rate=1e-2)
        assert cyclic_loss(networks, face, shifted, networks.read(drivers), drivers) < 0.5 * before


class TestLossesOfRealNetworks:
    @pytest.fixture
    def networks(self) -> TuningNetworks:
        return make_tiny_pipeline(recognizer=True).tuning_networks()

    def test_distance_of_equal_images_is_zero(self, networks):
        images = torch.rand(2, 3, 64, 64) * 2 - 1
        assert networks.distance(images, images).abs() < 1e-6
        assert networks.distance(images, -images) > 0.1

    def test_without_a_recognizer_it_is_the_mean_square(self):
        networks = make_tiny_pipeline().tuning_networks()
        first, second = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
        torch.testing.assert_close(networks.distance(first, second, 3.0), 3 * (first - second).square().mean())

    def test_locality_is_zero_before_the_first_step(self, networks):
        face = networks.read(torch.rand(1, 3, 64, 64) * 2 - 1)
        random = torch.Generator().manual_seed(0)
        loss = locality_loss(networks, networks.generator, face.w_plus, face.motion, random)
        assert loss.abs() < 1e-6

    def test_pivotal_tuning_shows_the_portrait(self):
        networks = make_tiny_pipeline().tuning_networks()  # without a recognizer the last step is kept
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1
        with torch.no_grad():
            face = networks.read(image)
            motion = networks.deform(face.motion, face.memory)
            before = networks.distance(networks.show(face.w_plus, motion), image)
            tune_pivotally(networks, face, image, 20, learning_rate=1e-2)
            assert networks.distance(networks.show(face.w_plus, motion), image) < 0.9 * before


@pytest.mark.parametrize("system", ["main", "hybrid"])
@pytest.mark.parametrize("method", ["cma", "pti", "portrait"])
class TestAdjustManifold:
    @pytest.fixture
    def pipeline(self, system):
        return make_tiny_pipeline(recognizer=True) if system == "main" else make_tiny_hybrid()

    def test_only_a_copy_of_the_generator_changes(self, pipeline, method, portrait, face_clip):
        before = {
            f"{part}.{name}": value.clone()
            for part, network in pipeline.components.items()
            if network is not None
            for name, value in network.state_dict().items()
        }
        identity = pipeline.encode_identity(portrait)
        tuned = pipeline.adjust_manifold(identity, face_clip, method=method, steps=14)
        for part, network in pipeline.components.items():
            for name, value in network.state_dict().items() if network is not None else ():
                assert torch.equal(value, before[f"{part}.{name}"]), f"{part}.{name}"
        assert identity.generator is None
        state = tuned.generator.state_dict()
        assert any(not torch.equal(state[name], before[f"generator.{name}"]) for name in state)
        assert not any(value.requires_grad or value.grad is not None for value in tuned.generator.parameters())
        expected = tuned.generator.to_stylespace(tuned.w_plus)
        for style, wanted in zip(tuned.styles, expected, strict=True):
            torch.testing.assert_close(style, wanted)

    def test_no_steps_give_the_identity_back(self, pipeline, method, portrait, face_clip):
        identity = pipeline.encode_identity(portrait)
        assert pipeline.adjust_manifold(identity, face_clip, method=method, steps=0) is identity

    def test_can_be_stopped_and_tells_how_far_it_is(self, pipeline, method, portrait, face_clip):
        seen = []

        class Enough(Exception):
            pass

        def stop(progress) -> None:
            seen.append(progress)
            if progress.done == 3:
                raise Enough

        identity = pipeline.encode_identity(portrait)
        with pytest.raises(Enough):
            pipeline.adjust_manifold(identity, face_clip, method=method, steps=20, on_progress=stop)
        assert sorted({progress.done for progress in seen}) == [0, 1, 2, 3]
        assert {(progress.stage, progress.total) for progress in seen} == {("adapting", 20)}


class TestBestStep:
    def test_the_likest_step_is_kept(self):
        """Steps that lead away from the portrait are undone."""
        networks = make_tiny_pipeline(recognizer=True).tuning_networks()
        random = torch.Generator().manual_seed(0)
        w_plus = networks.generator.sample_latents(1, 1.0, random)
        still = torch.zeros(1, 10, 32)
        portrait = networks.show(w_plus, still)
        before = {name: value.clone() for name, value in networks.generator.state_dict().items()}
        best = BestStep(networks, portrait, lambda: networks.show(w_plus, still))
        networks.generator.requires_grad_(True)

        def away(_: int) -> torch.Tensor:
            return -(networks.show(w_plus, still) - portrait - 0.1).square().mean()

        descend(networks.generator.parameters(), away, 6, 1e-1, device=torch.device("cpu"), best=best)
        assert any(not torch.equal(value, before[name]) for name, value in networks.generator.state_dict().items())
        best.restore()
        assert best.step == 0 and best.likeness == pytest.approx(1.0, abs=1e-4)
        assert all(torch.equal(value, before[name]) for name, value in networks.generator.state_dict().items())


class TestOptions:
    @pytest.mark.parametrize(
        ("adapt", "method", "steps"),
        [(7, "portrait", 7), ("7", "portrait", 7), ("cma", "cma", 100), ("pti:5", "pti", 5), ("cma:0", "cma", 0)],
    )
    def test_parse(self, adapt, method, steps):
        tuning = Tuning.parse(adapt)
        assert (tuning.method, tuning.steps) == (method, steps)

    @pytest.mark.parametrize("adapt", ["dog", "cma:", "cma:x", "cma:1:2", "", 1.5, None, "-3", -3, "cma:-1", True])
    def test_refused(self, adapt):
        with pytest.raises(OptionError) as error:
            Tuning.parse(adapt)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("rate", [0, -1, 2, float("nan"), "1"])
    def test_learning_rate(self, rate):
        with pytest.raises(OptionError, match="learning_rate"):
            Tuning("cma", 1, rate)


class TestDriving:
    def test_cma_needs_a_driver(self, tiny_pipeline, portrait):
        identity = tiny_pipeline.encode_identity(portrait)
        with pytest.raises(OptionError, match="driving video"):
            tiny_pipeline.adjust_manifold(identity)
        with pytest.raises(OptionError, match="adjust_manifold"):
            tiny_pipeline.encode_identity(portrait, adapt="cma")

    def test_a_motion_file_has_no_images(self, tiny_pipeline, portrait, motion_file):
        with pytest.raises(OptionError, match="give the video"):
            tiny_pipeline(portrait, motion_file, adapt="cma")

    def test_listed_motion_has_none_either(self):
        with pytest.raises(OptionError, match="give the video"):
            ListedMotion(torch.zeros(2, 10, 32)).map(lambda batches: batches).crops(4)

    def test_a_driver_without_a_face(self, tiny_pipeline, portrait, tmp_path):
        from tests.clips import write_face_clip

        clip = write_face_clip(tmp_path / "blank.mp4", frames=5, hidden=range(5))
        with pytest.raises(NoFaceError, match="blank.mp4"):
            tiny_pipeline(portrait, clip, adapt="cma:2")

    def test_few_evenly_spaced_crops(self, tiny_pipeline, face_clip):
        motion = tiny_pipeline.encode_motion(face_clip)
        few, all_of_them = motion.crops(4), motion.crops(100)
        assert len(few) == 4 and len(all_of_them) == 21
        places = [min(range(21), key=lambda n: abs(all_of_them[n].astype(int) - crop).sum()) for crop in few]
        assert places[0] == 0 and all(4 <= b - a <= 9 for a, b in zip(places, places[1:], strict=False))
