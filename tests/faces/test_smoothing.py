"""Steady crops: still heads stand still, speech does not lag, wandering heads stay inside."""

import math

import numpy as np
import pytest

from vivface.errors import OptionError
from vivface.faces.alignment import ffhq_quad, make_quad, quad_angle, quad_center, quad_size
from vivface.faces.smoothing import OneEuroFilter, QuadStabilizer

FPS = 30.0
SIDE = 400.0


def parameters(quad: np.ndarray) -> np.ndarray:
    """Centre in sides, log of the side, angle."""
    return np.array([*quad_center(quad) / SIDE, math.log(quad_size(quad)), quad_angle(quad)])


def follow(stabilizer: QuadStabilizer, quads: list[np.ndarray], fps: float = FPS) -> np.ndarray:
    return np.array([parameters(stabilizer.update(quad, number / fps)) for number, quad in enumerate(quads)])


def noisy_quads(count: int, seed: int = 0) -> list[np.ndarray]:
    """A still head seen through the landmark noise of dlib: 0.1 % of the side, 0.4 % of the size, 0.2 degrees."""
    g = np.random.default_rng(seed)
    return [
        make_quad(
            (300 + g.normal(0, 0.4), 250 + g.normal(0, 0.4)),
            SIDE / 2 * math.exp(g.normal(0, 0.004)),
            math.radians(5 + g.normal(0, 0.2)),
        )
        for _ in range(count)
    ]


class TestOneEuroFilter:
    def test_first_value(self):
        assert OneEuroFilter().update(3.0, 10.0) == 3.0

    def test_by_hand(self):
        """One step of 0.1 s with cut-offs of 1 Hz: the weight is 1 / (1 + 10 / (2 pi))."""
        euro = OneEuroFilter(min_cutoff=1.0, beta=0.5)
        euro.update(0.0, 0.0)
        weight = 1 / (1 + 10 / (2 * math.pi))
        cutoff = 1 + 0.5 * weight * 10  # the speed is 10 units per second
        expected = 1 / (1 + 1 / (2 * math.pi * cutoff * 0.1))
        assert math.isclose(float(euro.update(1.0, 0.1)), expected)

    def test_noise_shrinks(self):
        noise = np.random.default_rng(0).normal(0, 1, 600)
        euro = OneEuroFilter(min_cutoff=0.5)
        smooth = np.array([float(euro.update(value, k / FPS)) for k, value in enumerate(noise)])
        assert smooth[60:].std() < 0.3

    def test_beta_follows_faster(self):
        slow, fast = OneEuroFilter(0.5, 0.0), OneEuroFilter(0.5, 5.0)
        for k in range(30):
            a, b = slow.update(k * 0.1, k / FPS), fast.update(k * 0.1, k / FPS)
        assert 2.9 - b < 0.2 * (2.9 - a)

    def test_time_that_stands_still(self):
        euro = OneEuroFilter()
        euro.update(0.0, 0.0)
        first = euro.update(1.0, 0.1)
        assert euro.update(50.0, 0.1) == first

    def test_frame_rate_hardly_matters(self):
        results = []
        for fps in (15, 30, 60):
            euro = OneEuroFilter(1.0)
            results.append([float(euro.update(min(k / fps, 1.0), k / fps)) for k in range(2 * fps)][-1])
        assert np.ptp(results) < 0.01

    def test_bad_options(self):
        with pytest.raises(ValueError, match="min_cutoff"):
            OneEuroFilter(min_cutoff=0)


class TestStillHead:
    @pytest.mark.parametrize(("mode", "limit"), (("ffhq", 0.25), ("stable", 0.05)))
    def test_trembling_from_frame_to_frame(self, mode, limit):
        raw = noisy_quads(330)
        before = np.diff([parameters(quad) for quad in raw[30:]], axis=0).std(0)
        after = np.diff(follow(QuadStabilizer(mode), raw)[30:], axis=0).std(0)
        assert (after < limit * before).all(), after / before

    @pytest.mark.parametrize("mode", ("ffhq", "stable"))
    def test_corners_move_less_than_a_tenth_of_a_pixel(self, mode):
        stabilizer = QuadStabilizer(mode)
        corners = np.array([stabilizer.update(quad, k / FPS) for k, quad in enumerate(noisy_quads(330))])[30:]
        in_crop = np.diff(corners, axis=0) / SIDE * 256  # pixels of a crop of 256
        assert np.sqrt((in_crop**2).mean()) < 0.1 * (2 if mode == "ffhq" else 1)

    def test_single_wrong_frame_is_ignored(self):
        quads = [make_quad((300, 250), SIDE / 2, 0.1)] * 40
        quads[20] = make_quad((420, 180), SIDE / 3, 0.9)
        smooth = follow(QuadStabilizer("stable"), quads)
        assert np.abs(smooth - smooth[0]).max() < 1e-9


class TestMovingHead:
    def sway(self, shift=0.0, zoom=0.0, turn=0.0, hertz=1.5, seconds=10) -> tuple[list[np.ndarray], np.ndarray]:
        wave = np.sin(2 * np.pi * hertz * np.arange(int(seconds * FPS)) / FPS)
        quads = [make_quad((300 + shift * SIDE * w, 250), SIDE / 2 * math.exp(zoom * w), turn * w) for w in wave]
        return quads, wave

    @staticmethod
    def gain(output: np.ndarray, wave: np.ndarray) -> float:
        """Share of the movement that the crop follows in step."""
        output, wave = output[90:] - output[90:].mean(), wave[90:]
        return float(output @ wave / (wave @ wave))

    def test_frame_mode_does_not_lag_speech(self):
        """Nodding at 1.5 Hz by 3 % of the side, rolling by 6 degrees: at most one frame late."""
        for column, size, kind in ((0, 0.03, "shift"), (3, 0.1, "turn")):
            quads, wave = self.sway(**{kind: size})
            output = follow(QuadStabilizer("ffhq"), quads)[:, column]
            assert self.gain(output, size * wave) > 0.9
            late = max(range(6), key=lambda k: np.corrcoef(output[90:], np.roll(wave, k)[90:])[0, 1])
            assert late <= 1

    def test_stable_mode_leaves_movement_in_the_crop(self):
        for column, size, kind in ((0, 0.03, "shift"), (2, 0.05, "zoom"), (3, 0.15, "turn")):
            quads, wave = self.sway(**{kind: size})
            assert abs(self.gain(follow(QuadStabilizer("stable"), quads)[:, column], size * wave)) < 0.1

    def test_stable_centre_follows_in_half_a_second(self):
        quads = [make_quad((300, 250), SIDE / 2)] * 5 + [make_quad((300 + 0.2 * SIDE, 250), SIDE / 2)] * 30
        x = follow(QuadStabilizer("stable"), quads)[:, 0] - 300 / SIDE
        assert x[5 + 15] > 0.2 * 0.75

    def test_stable_angle_and_size_drift_slowly(self):
        quads = [make_quad((300, 250), SIDE / 2, 0.0)] * 5 + [make_quad((300, 250), SIDE / 2 * 1.1, 0.2)] * 600
        change = follow(QuadStabilizer("stable"), quads) - parameters(quads[0])
        for column, step in ((2, math.log(1.1)), (3, 0.2)):
            assert change[5 + 15, column] < 0.25 * step
            assert 0.6 * step < change[5 + 120, column] < 0.9 * step  # four seconds later
            assert change[-1, column] > 0.95 * step

    def test_stable_crop_keeps_a_hurrying_head(self):
        """Across the frame at half a side per second, and towards the camera by half its size in a second."""
        time = np.arange(90) / FPS
        run = [make_quad((300 + 0.5 * SIDE * t, 250), SIDE / 2) for t in time]
        assert (
            np.abs(follow(QuadStabilizer("stable"), run)[:, 0] - [quad_center(q)[0] / SIDE for q in run]).max() < 0.12
        )
        lean = [make_quad((300, 250), SIDE / 2 * 1.5 ** min(t, 1.0)) for t in time]
        assert np.abs(follow(QuadStabilizer("stable"), lean)[:, 2] - [math.log(quad_size(q)) for q in lean]).max() < 0.3

    def test_angle_past_half_a_turn(self):
        quads = [make_quad((300, 250), SIDE / 2, math.radians(170 + k)) for k in range(25)]
        smooth = QuadStabilizer("ffhq")
        for number, quad in enumerate(quads):
            result = smooth.update(quad, number / FPS)
        assert abs(math.remainder(quad_angle(result) - math.radians(194), 2 * math.pi)) < math.radians(8)


class TestStream:
    @pytest.mark.parametrize("mode", ("ffhq", "stable"))
    def test_starts_with_the_first_square(self, mode):
        quad = make_quad((120, 90), 70, -0.3)
        np.testing.assert_allclose(QuadStabilizer(mode).update(quad, 12.5), quad, atol=1e-9)

    @pytest.mark.parametrize("mode", ("ffhq", "stable"))
    def test_deterministic_and_causal(self, mode):
        quads = noisy_quads(60)
        whole = follow(QuadStabilizer(mode), quads)
        np.testing.assert_array_equal(whole[:40], follow(QuadStabilizer(mode), quads[:40]))

    @pytest.mark.parametrize("mode", ("ffhq", "stable"))
    def test_missing_face_holds_the_crop(self, mode):
        stabilizer = QuadStabilizer(mode)
        first = stabilizer.update(make_quad((120, 90), 70), 0.0)
        np.testing.assert_array_equal(stabilizer.update(None, 0.1), first)

    def test_nothing_to_hold(self):
        with pytest.raises(ValueError, match="first frame"):
            QuadStabilizer().update(None, 0.0)

    @pytest.mark.parametrize("mode", ("ffhq", "stable"))
    def test_cut(self, mode):
        """A face found again elsewhere starts a new crop; one found again in place does not."""
        here, near, far = (make_quad((x, 100), 50, angle) for x, angle in ((100, 0.0), (104, 0.2), (300, 0.2)))
        stabilizer = QuadStabilizer(mode)
        stabilizer.update(here, 0.0)
        again = stabilizer.update(near, 0.02, cut=True)
        assert np.abs(again - near).max() > 1
        np.testing.assert_allclose(stabilizer.update(far, 0.2, cut=True), far, atol=1e-9)

    def test_slow_clip_follows_as_fast_in_seconds(self):
        jump = [make_quad((300, 250), SIDE / 2)] * 10 + [make_quad((340, 250), SIDE / 2)] * 60
        quick = follow(QuadStabilizer(), jump, fps=30)[40, 0]
        slow = follow(QuadStabilizer(), jump[5:], fps=15)[25 - 5, 0]
        assert abs(quick - slow) < 0.03

    def test_mode(self):
        with pytest.raises(OptionError, match="stable"):
            QuadStabilizer("steady")


def test_square_of_landmarks_stays_square():
    points = np.random.default_rng(1).normal(0, 3, (68, 2))
    points[36:42] += (-20, 0)
    points[42:48] += (20, 0)
    points[48:] += (0, 40)
    quad = QuadStabilizer().update(ffhq_quad(points), 0)
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    np.testing.assert_allclose(sides, sides[0])
