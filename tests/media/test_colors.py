"""Colours of clips: matrix, range, transfer and primaries are those that the tags say; HDR is tone-mapped."""

from pathlib import Path

import numpy as np
import pytest

from vivface.media import VideoReader

SKIN = (200, 150, 120)
LUMA = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}  # of red and blue
BT709_TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
BT709_TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])


def yuv(rgb: np.ndarray, standard: str, full: bool = False) -> list[float]:
    """8-bit codes of coded RGB in [0, 255]."""
    kr, kb = LUMA[standard]
    red, green, blue = rgb
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (1 - kb), (red - luma) / (1 - kr)
    if full:
        return [luma, 128 + cb / 2, 128 + cr / 2]
    return [16 + 219 / 255 * luma, 128 + 112 / 255 * cb, 128 + 112 / 255 * cr]


def pq(nits: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: light in cd/m2 to code in [0, 1]."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(nits: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100: light of a screen of 1000 cd/m2 to code in [0, 1]."""
    light = nits / 1000
    luminance = light @ (0.2627, 0.6780, 0.0593)
    scene = light * luminance ** (1 / 1.2 - 1)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def shown(path: Path) -> np.ndarray:
    """Average colour of the first frame."""
    with VideoReader(path) as video:
        return next(iter(video)).image.reshape(-1, 3).mean(0)


@pytest.fixture
def show(make_clip):
    """Colour that is read from a clip with these codes and tags."""

    def show(codes: list[float], height: int = 48, pixels: str = "yuv420p", **tags: int) -> np.ndarray:
        return shown(make_clip("a.mp4", frames=2, size=(64, height), codes=codes, tags=tags, pixels=pixels))

    return show


class TestMatrixAndRange:
    @pytest.mark.parametrize(
        ("height", "tags", "standard"),
        [
            (48, {}, "601"),
            (720, {}, "709"),
            (48, {"colorspace": 1}, "709"),
            (720, {"colorspace": 5}, "601"),
            (48, {"colorspace": 9, "color_primaries": 1}, "2020"),
        ],
    )
    def test_matrix_follows_the_tags(self, show, height: int, tags: dict, standard: str):
        colour = (200, 60, 30)
        assert np.abs(show(yuv(colour, standard), height, **tags) - colour).max() < 4

    def test_full_range(self, show):
        assert np.abs(show(yuv(SKIN, "709", full=True), pixels="yuvj420p", colorspace=1) - SKIN).max() < 4


class TestWideGamut:
    @pytest.mark.parametrize("colour", [SKIN, (90, 60, 50), (230, 190, 170), (40, 90, 160), (128, 128, 128)])
    @pytest.mark.parametrize(
        ("matrix", "standard", "tags"),
        [
            (BT709_TO_BT2020, "2020", {"colorspace": 9, "color_primaries": 9, "color_trc": 14}),
            (BT709_TO_BT2020, "2020", {"colorspace": 9, "color_primaries": 9, "color_trc": 1}),
            (BT709_TO_BT2020, "2020", {"colorspace": 9}),  # only the matrix tells
            (BT709_TO_P3, "709", {"colorspace": 1, "color_primaries": 12, "color_trc": 1}),
        ],
    )
    def test_sdr(self, show, colour: tuple, matrix: np.ndarray, standard: str, tags: dict):
        coded = 255 * (matrix @ (np.array(colour) / 255) ** 2.4) ** (1 / 2.4)
        assert np.abs(show(yuv(coded, standard), **tags) - colour).max() < 5

    def test_srgb_transfer(self, show):
        value = np.array(SKIN) / 255
        light = BT709_TO_P3 @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        coded = 255 * (1.055 * light ** (1 / 2.4) - 0.055)
        assert np.abs(show(yuv(coded, "709"), colorspace=1, color_primaries=12, color_trc=13) - SKIN).max() < 5


class TestHdr:
    @pytest.mark.parametrize("colour", [SKIN, (90, 60, 50), (230, 190, 170), (40, 90, 160), (128, 128, 128)])
    @pytest.mark.parametrize(("transfer", "code"), [(pq, 16), (hlg, 18)])
    def test_what_sdr_can_show_stays(self, show, colour: tuple, transfer, code: int):
        light = 100 * (BT709_TO_BT2020 @ (np.array(colour) / 255) ** 2.4)  # white of SDR is 100 cd/m2
        codes = yuv(255 * transfer(light), "2020")
        tags = {"colorspace": 9, "color_primaries": 9, "color_trc": code}
        assert np.abs(show(codes, **tags) - colour).max() < 12
        assert np.abs(show(codes, colorspace=9, color_trc=code) - colour).max() < 12  # primaries are not given

    @pytest.mark.parametrize(("transfer", "code"), [(pq, 16), (hlg, 18)])
    def test_highlights_are_compressed_not_cut(self, show, transfer, code: int):
        tags = {"colorspace": 9, "color_primaries": 9, "color_trc": code}
        nits = [20, 60, 100, 200, 400, 990]
        grays = [show(yuv(255 * transfer(np.full(3, float(n))), "2020"), **tags) for n in nits]
        assert all(np.ptp(gray) <= 2 for gray in grays)
        steps = [gray[1] for gray in grays]
        assert steps == sorted(set(steps)) and 243 <= steps[2] < 250 and steps[-1] <= 255

    def test_no_note(self, make_clip):
        with VideoReader(make_clip("a.mp4", frames=2, tags={"color_trc": 18, "colorspace": 9})) as video:
            list(video)
            assert video.warnings == []

    def test_a_phone_clip(self, reports_dir: Path):
        """The same frames in HLG and in SDR."""
        with VideoReader(reports_dir / "exp_hlg.mov") as hdr, VideoReader(reports_dir / "exp_sdr.mp4") as sdr:
            for ours, right in zip(hdr, sdr, strict=True):
                error = np.abs(ours.image.astype(int) - right.image)
                assert error.mean() < 3 and np.percentile(error, 99) < 12
