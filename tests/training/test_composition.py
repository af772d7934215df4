"""How stages I and II compose their losses, on a toy whose every value can be written down.

All networks of the toy are scalars: an image is one grey level, E gives w = a * image, motion = b * image and memory =
e * image, T gives t * motion + m * memory, G gives p * w + q * motion. What the stages make is compared with the same
terms written out, in value and in the gradient of every trained number.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import nn

from training.arguments import Preset
from training.code_pool import CodePool
from training.losses import gradient_variance
from training.stages.reenactment import ReenactmentStage
from training.stages.refinement import Disturbance, Disturbances, RefinementStage
from vivface.editing.directions import AttributeDirections, Direction
from vivface.models.stylegan2 import SynthesisState

SIZE, LATENTS, CODES, DIM = 8, 3, 2, 4
SOURCE, SAME, OTHER = 0.5, -0.25, 0.875


def grey(level: torch.Tensor | float, batch: int = 2) -> torch.Tensor:
    return torch.as_tensor(level).reshape(-1, 1, 1, 1).expand(batch, 3, SIZE, SIZE)


def level_of(image: torch.Tensor) -> torch.Tensor:
    return image.mean(dim=(1, 2, 3))


class Scalars(nn.Module):
    def __init__(self, **values: float):
        super().__init__()
        for name, value in values.items():
            setattr(self, name, nn.Parameter(torch.tensor(value)))


class Encoder(Scalars):
    config = SimpleNamespace(image_size=SIZE)

    def forward(self, image, identity=True, motion=True, memory=True):
        x = level_of(image)[:, None, None]
        return SimpleNamespace(
            identity=(self.a * x).expand(-1, LATENTS, DIM),
            motion=(self.b * x).expand(-1, CODES, DIM),
            memory=(self.e * x).expand(-1, 1, DIM),
        )


class Transformer(Scalars):
    def forward(self, motion, memory):
        return self.t * motion + self.m * memory.mean(1, keepdim=True)


class Generator(Scalars):
    config = SimpleNamespace(style_dim=DIM)
    num_latents = LATENTS
    refinement_layer = "middle"
    noises: list

    def to_stylespace(self, w_plus):
        return [self.p * w_plus.mean(1)]

    def add_motion(self, styles, motion):
        return [styles[0] + self.q * motion.mean(1)]

    def mapping(self, z):
        return z

    def forward(self, styles, resume=None, stop_after=None, noise="fixed"):
        self.noises.append(noise)
        if stop_after is not None:
            return SynthesisState(stop_after, styles[0].mean(1)[:, None, None, None].expand(-1, 3, SIZE, SIZE), None)
        return grey(styles[0].mean(1), len(styles[0])) if resume is None else resume.feature


class Recognizer(nn.Module):
    def embed(self, image):
        x = 2.0 * level_of(image)
        return torch.stack([x.cos(), x.sin()], 1)


class Refinement(Scalars):
    def forward(self, image, reference):
        return SimpleNamespace(scale=self.u * reference, shift=self.v * image, aligned=self.x * reference)

    def fuse(self, feature, scale, shift):
        return feature * (1 + scale) + shift


class LatentCritic(Scalars):
    def forward(self, codes):
        return self.h * codes.mean(-1, keepdim=True)


def distance(image, target):
    return (image - target).abs().mean()


class Recorded:
    """Keeps what a stage would update with, and steps nothing."""

    def update(self, name, loss):
        self.updates.append((name, loss))
        for network in self.networks.values():
            network.zero_grad()
        loss.backward()
        self.gradients.append(
            {f"{n}.{k}": p.grad for n, net in self.networks.items() for k, p in net.named_parameters()}
        )

    def record(self):
        self.updates, self.gradients = [], []
        self.perceptual, self.last_batch = distance, None
        generator = Generator(p=1.25, q=0.75)
        generator.noises = []
        self.add_network("generator", generator, trained=False)
        self.add_network("recognizer", Recognizer(), trained=False)


class StageI(Recorded, ReenactmentStage):
    def build(self):
        self.record()
        self.add_network("encoder", Encoder(a=0.9, b=0.6, e=0.4))
        if self.options.transformer:
            self.add_network("transformer", Transformer(t=1.1, m=0.3))
        self.add_network("latent_discriminator", LatentCritic(h=0.7))
        self.real_codes, self.encoded_codes = CodePool(0), CodePool(0)


class StageII(Recorded, RefinementStage):
    def build(self):
        self.record()
        self.add_network("encoder", Encoder(a=0.9, b=0.6, e=0.4), trained=False)
        if self.options.transformer:
            self.add_network("transformer", Transformer(t=1.1, m=0.3), trained=False)
        self.add_network("refinement", Refinement(u=0.2, v=0.3, x=0.8))
        options = self.options
        self.disturbances = Disturbances(options.disturbances, options.random_shift, self.networks["generator"])


def stage(kind, **options):
    return kind(Preset(stage="toy", options=options), Accelerator(cpu=True))


def batch():
    return {"source": grey(SOURCE), "same": grey(SAME), "other": grey(OTHER)}


def turn(image: torch.Tensor | float, target: float) -> torch.Tensor:
    """Identity loss of the toy's recognizer."""
    return 1 - torch.cos(2.0 * (torch.as_tensor(image) - target))


class TestStageI:
    """Eqs. 4 to 8 of the paper, with the weights of the authors' code."""

    def expected(self, n: dict[str, torch.Tensor], transformer: bool = True, neutral: str = "zero"):
        """The terms, from the toy's numbers."""

        def deformed(motion, memory):
            return n["t"] * motion + n["m"] * memory if transformer else motion

        w, memory = n["a"] * SOURCE, n["e"] * SOURCE
        on = {
            k: 1.25 * w + 0.75 * deformed(n["b"] * x, memory) for k, x in (("S", SOURCE), ("D1", SAME), ("D2", OTHER))
        }
        still = 1.25 * w + (0.75 * deformed(0.0, memory) if neutral == "transformed" else 0.0)
        cross = on["D2"]
        return {
            "self/pixel": (on["S"] - SOURCE) ** 2,
            "self/features": 0.8 * (on["S"] - SOURCE).abs(),
            "self/gradient_variance": 0.01 * gradient_variance(grey(on["S"]), grey(SOURCE)),
            "same/pixel": (on["D1"] - SAME) ** 2,  # the driver I_2: eq. 5 prints I_1
            "same/features": 0.8 * (on["D1"] - SAME).abs(),
            "same/gradient_variance": 0.01 * gradient_variance(grey(on["D1"]), grey(SAME)),
            "identity": 0.1 * (turn(still, SOURCE) + turn(cross, SOURCE)),
            "identity_consistency": (n["a"] * cross - w) ** 2,
            "motion_consistency": (n["b"] * cross - n["b"] * OTHER) ** 2,
            "motion_norm": 2e-4 * (n["b"] * SAME) ** 2,
            "delta": torch.zeros(()),  # a term of hybrid latent spaces, off here
            "adversarial": 0.1 * F.softplus(-0.7 * w),
        }

    @pytest.mark.parametrize(("transformer", "neutral"), [(True, "zero"), (True, "transformed"), (False, "zero")])
    def test_terms_and_gradients(self, transformer, neutral):
        toy = stage(StageI, transformer=transformer, neutral=neutral)
        scalars = toy.step(batch())

        values = {"a": 0.9, "b": 0.6, "e": 0.4, "t": 1.1, "m": 0.3}
        numbers = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
        expected = self.expected(numbers, transformer, neutral)
        for name, value in expected.items():
            assert scalars[name].item() == pytest.approx(value.item(), abs=1e-6), name
        assert set(scalars) - set(expected) == {"loss", "latent_discriminator", "r1"}

        total = sum(expected.values())
        assert toy.updates[0][0] == "main" and toy.updates[0][1].item() == pytest.approx(total.item(), abs=1e-6)
        total.backward()
        places = {"a": "encoder.a", "b": "encoder.b", "e": "encoder.e"}
        if transformer:
            places |= {"t": "transformer.t", "m": "transformer.m"}
        for name, place in places.items():
            found, wanted = (0.0 if g is None else g.item() for g in (toy.gradients[0][place], numbers[name].grad))
            assert found == pytest.approx(wanted, abs=1e-5), name
        frozen = ["generator.p", "generator.q", "latent_discriminator.h"]
        assert all(toy.gradients[0][place] is None for place in frozen)

    def test_the_discriminators_turn(self):
        toy = stage(StageI)
        torch.manual_seed(3)
        scalars = toy.step(batch())
        torch.manual_seed(3)
        real = torch.randn(2, DIM)  # through the toy's mapping, which changes nothing
        expected = F.softplus(-0.7 * real.mean(1)).mean() + F.softplus(torch.tensor(0.7 * 0.9 * SOURCE))
        assert scalars["latent_discriminator"].item() == pytest.approx(expected.item(), abs=1e-6)
        assert scalars["r1"].item() == pytest.approx(0.7**2 / DIM, abs=1e-6)
        assert [name for name, _ in toy.updates] == ["main", "latent_discriminator", "latent_discriminator"]
        assert toy.updates[2][1].item() == pytest.approx(10.0 / 2 * 16 * 0.7**2 / DIM, abs=1e-5)
        assert toy.gradients[1]["encoder.a"] is None  # it learns from codes, not the encoder from it

    def test_noise_is_fresh_in_training_and_still_in_samples(self):
        toy = stage(StageI)
        toy.step(batch())
        assert set(toy.networks["generator"].noises) == {"random"}
        toy.networks["generator"].noises.clear()
        assert toy.sample_grid().shape == (2 * SIZE, 7 * SIZE, 3)
        assert set(toy.networks["generator"].noises) == {"fixed"}


class TestStageII:
    """Eq. 9: the target's own code, memory and motion are rendered, and the reference is seen by R alone."""

    VALUES = {"u": 0.2, "v": 0.3, "x": 0.8}

    def expected(self, n, person: float, reference: float, edit: float = 0.0, norm: str = "l1", transformer=True):
        motion = 1.1 * 0.6 * SOURCE + 0.3 * 0.4 * person if transformer else 0.6 * SOURCE
        image = 1.25 * (0.9 * person + edit) + 0.75 * motion
        refined = image * (1 + n["u"] * reference) + n["v"] * image
        aligned = n["x"] * reference - SOURCE
        return {
            "pixel": (refined - SOURCE) ** 2,
            "features": 0.8 * (refined - SOURCE).abs(),
            "identity": 0.1 * turn(refined, SOURCE),
            "aligned": 0.1 * (aligned.abs() if norm == "l1" else aligned**2),
        }, (image - SOURCE) ** 2

    @pytest.mark.parametrize(
        ("options", "person", "reference", "more"),
        [
            ({}, SOURCE, SAME, {}),
            ({"other_frame": 0.0}, SOURCE, SOURCE, {}),
            ({"stage1_picture": "reference"}, SAME, SAME, {}),
            ({"aligned_norm": "l2"}, SOURCE, SAME, {"norm": "l2"}),
            ({"transformer": False}, SOURCE, SAME, {"transformer": False}),
        ],
        ids=["published", "target-as-reference", "ours", "text", "without-T"],
    )
    def test_terms_and_gradients(self, options, person, reference, more):
        toy = stage(StageII, **{"other_frame": 1.0, "random_shift": 0.0, **options})
        scalars = toy.step(batch())
        numbers = {name: torch.tensor(value, requires_grad=True) for name, value in self.VALUES.items()}
        expected, before = self.expected(numbers, person, reference, **more)
        for name, value in expected.items():
            assert scalars[name].item() == pytest.approx(value.item(), abs=1e-6), name
        assert scalars["pixel_before"].item() == pytest.approx(before, abs=1e-6)
        assert set(scalars) == {"loss", "pixel_before", *expected}
        sum(expected.values()).backward()
        assert toy.updates[0][1].item() == pytest.approx(sum(expected.values()).item(), abs=1e-6)
        for name, number in numbers.items():
            assert toy.gradients[0][f"refinement.{name}"].item() == pytest.approx(number.grad.item(), abs=1e-5), name
        assert {place for place, g in toy.gradients[0].items() if g is not None} == {f"refinement.{n}" for n in "uvx"}
        assert set(toy.networks["generator"].noises) == {"random"}

    def test_the_edit_enters_the_identity_code_alone(self, tmp_path):
        age = Direction("age", "Age", "w_plus", torch.full((LATENTS, DIM), 0.2))
        AttributeDirections([age]).save(tmp_path / "age.safetensors")
        edit = Disturbance(file=str(tmp_path / "age.safetensors"), share=1.0, low=0.5, high=0.5, both_ways=False)
        toy = stage(StageII, other_frame=1.0, disturbances={"age": edit.model_dump()})
        scalars = toy.step(batch())
        numbers = {name: torch.tensor(value) for name, value in self.VALUES.items()}
        expected, before = self.expected(numbers, SOURCE, SAME, edit=0.5 * 0.2)
        assert scalars["pixel"].item() == pytest.approx(expected["pixel"].item(), abs=1e-6)
        assert scalars["pixel_before"].item() == pytest.approx(before, abs=1e-6)
