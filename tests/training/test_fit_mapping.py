"""The mapping network learns to draw codes like those of encoded people."""

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import make_tiny_pipeline
from training.data import GroupShards
from training.tools.fit_mapping import (
    encode_people,
    fit_mapping,
    main,
    random_directions,
    sliced_wasserstein,
    whitening,
)
from vivface.errors import OptionError
from vivface.models import StyleGAN2Generator

WEIGHTS = "diffusion_pytorch_model.safetensors"


class TestDistance:
    directions = random_directions(3, 200)

    def test_order_does_not_matter_and_place_does(self):
        torch.manual_seed(0)
        points = torch.randn(50, 3)
        assert sliced_wasserstein(points, points[torch.randperm(50)], self.directions).item() == pytest.approx(
            0, abs=1e-9
        )
        # A shift s is seen as (s . d)^2, over all directions |s|^2 / 3
        moved = points + torch.tensor([0.0, 3.0, 0.0])
        expected = (self.directions[1] * 3).square().mean().item()
        assert sliced_wasserstein(points, moved, self.directions).item() == pytest.approx(expected, rel=1e-4)

    def test_whitening_gives_about_unit_spread(self):
        torch.manual_seed(0)
        points = torch.randn(4000, 3) @ torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 0.0, 1.0]])
        white = (points - points.mean(0)) @ whitening(points - points.mean(0))
        assert torch.allclose(white.T @ white / 4000, torch.eye(3), atol=0.15)


class TestFit:
    def test_draws_like_a_skewed_cloud(self):
        """Two clusters of different size, far from where the mapping network starts."""
        torch.manual_seed(0)
        cloud = torch.randn(1200, 6) * torch.linspace(0.1, 1.0, 6) + 4.0
        cloud[:300, 0] += 3.0
        generator = StyleGAN2Generator(8, style_dim=6, mapping_layers=3, channels=[4, 4], motion_codes=2)
        fit = fit_mapping(generator, cloud, steps=250, batch=256, directions=64)
        assert fit.after < 0.01 * fit.before and fit.after < 0.1
        drawn = generator.sample_latents(1500, generator=torch.Generator().manual_seed(1))[:, 0]
        assert torch.allclose(drawn.mean(0), cloud.mean(0), atol=0.2)
        assert torch.allclose(drawn.std(0), cloud.std(0), rtol=0.3)
        assert (drawn[:, 0] > 5.5).float().mean().item() == pytest.approx(0.25, abs=0.08)
        mean_face = generator.sample_latents(1, truncation=0.0)[0, 0]
        assert torch.allclose(mean_face, cloud.mean(0), atol=1e-5)


class TestCommand:
    def test_only_mapping_and_mean_latent_change(self, people, tmp_path, capsys):
        pipeline = make_tiny_pipeline()
        for name in ("generator", "encoder"):
            getattr(pipeline, name).save_pretrained(tmp_path / name)
        generator, encoder = (load_file(tmp_path / name / WEIGHTS) for name in ("generator", "encoder"))
        main([str(tmp_path), "--folders", str(people), "--codes", "20", "--steps", "5", "--device", "cpu"])
        assert "distance to 20 codes" in capsys.readouterr().out

        after = load_file(tmp_path / "generator" / WEIGHTS)
        changed = {key for key in after if not torch.equal(after[key], generator[key])}
        assert changed == {"latent_avg"} | {key for key in after if key.startswith("mapping.")}
        encoder_after = load_file(tmp_path / "encoder" / WEIGHTS)
        assert all(torch.equal(encoder_after[key], encoder[key]) for key in encoder)
        codes = encode_people(pipeline.encoder.eval(), GroupShards([people]), 20, 0.5)
        assert codes.shape == (20, 10, 32)
        assert torch.allclose(after["latent_avg"], codes.mean((0, 1)), atol=1e-5)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder", "generator"]

    def test_an_unknown_device_is_refused(self, people, tmp_path):
        with pytest.raises(OptionError, match="no device 'abacus'"):
            main([str(tmp_path), "--folders", str(people), "--device", "abacus"])
