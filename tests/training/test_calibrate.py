"""Motion codes become as much larger as results move too little."""

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import make_tiny_pipeline
from training.calibration import (
    Decoded,
    EncodedFrames,
    head_features,
    measure_gains,
    motion_factors,
    scale_motion,
    visible_controls,
)
from training.ground_truth import MotionLabelEncoder
from training.tools.calibrate import main
from vivface.errors import OptionError

WEIGHTS = "diffusion_pytorch_model.safetensors"


def make_decoded(gains: list[float], slopes: list[float], noise: float = 0.5) -> Decoded:
    """Noisy readings of targets, and of results that move `gains` times as far; identities differ at rest."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    count = len(gains)
    truth, rest = draw(300, 8, count), draw(300, 2, 1, count)
    target = torch.tensor(slopes) * truth[:, None] + rest
    result = torch.tensor(gains) * torch.tensor(slopes) * truth[:, None] + rest
    noisy = [x + noise * draw(*x.shape) for x in (target, result)]
    return Decoded(truth, *noisy)


class TestGains:
    def test_noise_and_shrinkage_drop_out(self):
        decoded = make_decoded(gains=[0.5, 0.8, 1.0], slopes=[0.7, 0.4, 1.0])
        assert measure_gains(decoded).tolist() == pytest.approx([0.5, 0.8, 1.0], abs=0.04)

    def test_what_is_not_seen_is_left_alone(self):
        decoded = make_decoded(gains=[0.5, 0.5], slopes=[0.7, 0.1])
        assert visible_controls(decoded, 0.35).tolist() == [True, False]

    def test_factors_undo_gains_up_to_the_limit(self):
        gains = torch.tensor([0.5, 0.2, 1.3, 0.5, -0.4])
        visible = torch.tensor([True, True, True, False, True])
        assert motion_factors(gains, visible, 2.5).tolist() == pytest.approx([2.0, 2.5, 1.0, 1.0, 1.0])


class TestHeads:
    @torch.no_grad()
    def test_codes_say_so_much_more_of_one_control_and_the_same_of_others(self):
        torch.manual_seed(0)
        encoder = make_tiny_pipeline().encoder.eval()
        label_encoder = MotionLabelEncoder(6 + 2 + 2 * 68, motion_codes=10, style_dim=32)
        images = torch.rand(400, 3, 64, 64) * torch.rand(400, 3, 1, 1) * 2 - 1

        def read(codes: torch.Tensor) -> torch.Tensor:
            return torch.cat(label_encoder.decode(codes), -1)

        with head_features(encoder) as features:
            before = read(encoder(images).motion)
        spread = before.std(0)
        shown = (before - before.mean(0)) / spread  # as if codes told the truth
        factors = torch.ones(8)
        factors[2] = 2.0
        told = scale_motion(encoder, label_encoder, EncodedFrames(shown, before, features), factors)
        after = read(encoder(images).motion)

        def slope(k: int) -> float:
            a, b = after[:, k] - after[:, k].mean(), before[:, k] - before[:, k].mean()
            return (a @ b / (b @ b)).item()

        assert 0.3 < told <= 1.0 + 1e-3
        assert slope(2) == pytest.approx(1 + told, abs=0.2)
        others = [k for k in range(8) if k != 2]
        assert [slope(k) for k in others] == pytest.approx([1.0] * 7, abs=0.15)


class TestCommand:
    def save(self, people, folder):
        pipeline = make_tiny_pipeline()
        for name in ("generator", "encoder", "transformer", "refinement"):
            getattr(pipeline, name).save_pretrained(folder / name)
        count = MotionLabelEncoder.from_pretrained(people.parent / "codes" / "motion_labels").config.labels
        MotionLabelEncoder(count, motion_codes=10, style_dim=32).save_pretrained(folder / "motion_labels")

    def test_only_the_last_maps_of_the_motion_heads_change(self, people, tmp_path, capsys, monkeypatch):
        """Networks that learned nothing have no gain to speak of, so one is given."""
        monkeypatch.setattr(
            "training.tools.calibrate.measure_gains", lambda decoded: torch.full(decoded.labels.shape[-1:], 0.5)
        )
        self.save(people, tmp_path)
        before = {p.parent.name: load_file(p) for p in tmp_path.glob(f"*/{WEIGHTS}")}
        main([str(tmp_path), "--folders", str(people), "--batches", "3", "--visible", "-9", "--limit", "3"])
        assert "of the change" in capsys.readouterr().out
        after = {p.parent.name: load_file(p) for p in tmp_path.glob(f"*/{WEIGHTS}")}
        assert after.keys() == before.keys()
        changed = {(n, k) for n, net in after.items() for k in net if not torch.equal(net[k], before[n][k])}
        assert changed
        assert all(n == "encoder" and k.startswith("motion_heads.") and ".linears." in k for n, k in changed)

    def test_an_unknown_device_is_refused(self, people, tmp_path):
        with pytest.raises(OptionError, match="no device 'abacus'"):
            main([str(tmp_path), "--folders", str(people), "--device", "abacus"])

    def test_options_are_checked(self, people, tmp_path):
        with pytest.raises(OptionError, match="--limit 0.5, expected at least 2 and 1"):
            main([str(tmp_path), "--folders", str(people), "--limit", "0.5"])
