"""Tools of the codec: components where data were made with known ones, channels, rates."""

import numpy as np
import pytest
import torch

from tests.tiny_codec import make_tiny_codec
from training.evaluation.rate_tables import averaged, markdown, wins
from training.evaluation.video_codecs import best_scale_at, coded_at, through
from training.tools.fit_components import Person, fit
from training.tools.select_channels import ahead, choose, figure
from vivface.editing.codec_basis import pose_features
from vivface.errors import OptionError

CODES, DIM, CONTROLS = 4, 12, 3


@pytest.fixture(scope="module")
def truth() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    return {"origin": draw(48), "pose": draw(5, 48), "controls": draw(CONTROLS, 48), "hidden": draw(2, 48)}


@pytest.fixture(scope="module")
def people(truth) -> list[Person]:
    """Deformations that are linear in features of the pose, controls and two hidden numbers; smiles come with yaw."""
    random, found = torch.Generator().manual_seed(1), []
    for _ in range(40):
        pose = torch.randn(20, 3, generator=random) * 12
        controls = torch.randn(20, CONTROLS, generator=random)
        controls[:, 0] += pose[:, 0] / 12
        hidden = 0.1 * torch.randn(20, 2, generator=random)
        codes = truth["origin"] + pose_features(pose[:, 0], pose[:, 1]) @ truth["pose"]
        codes = codes + controls @ truth["controls"] + hidden @ truth["hidden"]
        found.append(Person(codes.view(20, CODES, DIM), torch.zeros(6, DIM), pose, controls))
    return found


@pytest.mark.parametrize("weighted", [False, True])
def test_components_are_found(people, truth, weighted):
    metric = torch.diag(torch.linspace(0.1, 4, CODES * DIM)) if weighted else None
    components = fit(people, metric)
    torch.testing.assert_close(components.origin.flatten(), truth["origin"], atol=0.06, rtol=0.05)
    torch.testing.assert_close(components.pose.flatten(1), truth["pose"], atol=0.1, rtol=0.05)
    person = people[3]
    numbers = components.read(person.deformation)
    again = components.turn(numbers[:, 0], numbers[:, 1]) + torch.einsum(
        "bn,ncd->bcd", numbers[:, 2:], components.vectors
    )
    assert (again - person.deformation).abs().max() < 0.05  # five dimensions of expression fit into 32
    assert (numbers[:, :2] - person.pose[:, :2]).abs().mean() < 6  # read with ridge, degrees


class Blind:
    """A backend that sees nothing, or the same landmarks everywhere."""

    name = "blind"

    def __init__(self, landmarks: np.ndarray | None = None):
        self.landmarks = landmarks

    def detect(self, image, *, effort="normal", near=None):
        from vivface.faces.landmarks import Face

        return [] if self.landmarks is None else [Face(np.array([0, 0, 64, 64.0]), self.landmarks, 1.0)]


def test_channels_are_chosen_and_drawn():
    codec = make_tiny_codec()
    codec._evaluate()
    random = torch.Generator().manual_seed(0)
    latents = [codec.generator.sample_latents(1, generator=random) for _ in range(3)]
    with pytest.raises(OptionError, match="No subject shows a face"):
        choose(codec, latents, latents[:1], Blind())
    angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    landmarks = 32 + 20 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    channels = choose(codec, latents, latents[:1], Blind(landmarks))
    assert channels.indices.shape == (32, 2) and (channels.deviation > 0).all()
    sheet = figure(codec, channels, latents[0])
    assert sheet.shape == (16 * 64, 2 * 6 * 64, 3) and sheet.dtype == np.uint8
    assert len(ahead(codec, latents[0])) == len(codec.generator.layer_names)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    base = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    return [np.roll(base, shift, axis=1) for shift in range(6)]


@pytest.mark.parametrize("codec, worst, best", [("H.264", 48, 20), ("AV1", 60, 20)])
def test_video_codecs(pictures, codec, worst, best):
    bad, good = (through(codec, pictures, 25, quality) for quality in (worst, best))
    assert len(bad.pictures) == len(good.pictures) == 6 and bad.size < good.size
    assert error(good.pictures, pictures) < error(bad.pictures, pictures)


def error(made: list[np.ndarray], true: list[np.ndarray]) -> float:
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(made, true, strict=True)]))


def test_the_rate_is_kept(pictures):
    low, high = coded_at("H.264", pictures, 25, [150, 400]).values()
    assert low.size <= 150 < high.size <= 400


def test_whole_clips_are_coded_smaller_where_that_is_better():
    rows, columns = np.mgrid[:256, :256]
    smooth = [np.stack([rows // 2 + shift, columns // 2, columns // 2], -1).astype(np.uint8) for shift in range(6)]
    noisy = [np.random.default_rng(n).integers(0, 255, (256, 256, 3), np.uint8) for n in range(6)]
    (small,) = best_scale_at("H.264", noisy, 25, [120]).values()
    assert small.scale > 1 and small.pictures[0].shape == (256, 256, 3)
    (large,) = best_scale_at("H.264", smooth, 25, [4000]).values()
    assert large.scale == 1 and large.size <= 4000 and error(large.pictures, smooth) < 4


def test_table():
    row = dict.fromkeys(("bytes a frame", "bytes a second", "header", "PSNR", "SSIM", "landmark error"), 2.0)
    row |= {"identity": 0.5, "missing": 0.0}
    results = {
        "a": {"channels": row, "AV1 70": row | {"PSNR": 1.0, "identity": 0.6}},
        "b": {"channels": row | {"PSNR": 4.0}},
    }
    assert averaged(results)["channels"]["PSNR"] == 3.0
    assert "| channels | 2 | 2 | 2 | 2 | 3.00 |" in markdown(results)
    assert "channels better than AV1 70, of 1 clips: PSNR 1, SSIM 0, landmark error, % 0, identity 1" in wins(
        results, "channels", 70
    )
