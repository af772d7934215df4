"""Eq. 1-3 and 10 of Video2StyleGAN."""

import pytest
import torch

from vivface.errors import OptionError
from vivface.reenactment.composition import Weights, compose, residual_motion, with_residual

RANDOM = torch.Generator().manual_seed(0)


def styles(batch: int = 2) -> list[torch.Tensor]:
    return [torch.randn(batch, width, generator=RANDOM) for width in (4, *[6] * 15)]


LOCAL = [torch.arange(width) % 3 == 1 for width in (4, *[6] * 15)]


class TestCompose:
    def test_the_reference_itself_is_not_changed(self):
        """s_j = s_ref and no residual motion, under the paper's weights: exactly s_ref."""
        reference = styles()
        made = compose(reference, reference, reference, LOCAL, Weights())
        assert all(torch.equal(a, b) for a, b in zip(made, reference, strict=True))

    def test_baseline(self):
        """alpha = beta = zeta = 0, gamma = 1: residual motion alone, in rows 3 to 7 and in the local channels."""
        reference, driver, base = styles(), styles(), styles()
        made = compose(reference, driver, base, LOCAL, Weights(0.0, 0.0, 1.0, 0.0))
        for row, (style, mask) in enumerate(zip(made, LOCAL, strict=True)):
            expected = base[row] if 3 <= row < 8 else torch.where(mask, base[row], reference[row])
            assert torch.equal(style, expected)

    def test_zeta_one_freezes_other_channels(self):
        reference, driver, base = styles(), styles(), styles()
        made = compose(reference, driver, base, LOCAL, Weights(zeta=1.0))
        for style, s_ref, mask in zip(made, reference, LOCAL, strict=True):
            torch.testing.assert_close(style[:, ~mask], s_ref[:, ~mask])

    def test_by_hand(self):
        reference, driver, base = ([torch.full((1, 2), value)] * 16 for value in (1.0, 10.0, 3.0))
        made = compose(reference, driver, base, [torch.tensor([True, False])] * 16, Weights(-2.0, 0.5, 2.0, 0.25))
        assert made[4].tolist() == [[-2 + 5 + 6, 0.25 + 0.75 * 3]]
        assert made[9].tolist() == [[9, 1]]

    @pytest.mark.parametrize("wrong", [{"alpha": "much"}, {"beta": 11}, {"zeta": 1.5}, {"zeta": -0.1}, {"gamma": True}])
    def test_weights_out_of_range(self, wrong):
        with pytest.raises(OptionError, match=f"`{next(iter(wrong))}` is"):
            Weights(**wrong)


class TestResidual:
    def test_the_readings_of_one_step_differ_in_sign(self):
        first, second = torch.randn(2, 1, 16, 4, generator=RANDOM)
        cumulative = residual_motion(second, first, first, "cumulative")
        printed = residual_motion(second, first, first, "printed")
        torch.testing.assert_close(printed, -cumulative)
        torch.testing.assert_close(cumulative, (second - first)[:, 3:8])

    def test_printed_steps_undo_the_sum(self):
        codes = torch.randn(5, 16, 4, generator=RANDOM)
        printed = residual_motion(codes, codes[:1], codes[:1], "printed")
        torch.testing.assert_close(-printed.cumsum(0), residual_motion(codes, codes[:1], codes[:1]))

    def test_rows(self):
        code = torch.randn(2, 16, 4, generator=RANDOM)
        moved = with_residual(code, torch.ones(2, 5, 4))
        rows = [3, 4, 5, 6, 7]
        torch.testing.assert_close(moved[:, rows], code[:, rows] + 1)
        others = [row for row in range(16) if row not in rows]
        assert torch.equal(moved[:, others], code[:, others])
