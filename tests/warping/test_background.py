"""What lies behind the person."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.warping.faces import gradient
from vivface import VivFacePipeline
from vivface.errors import OptionError
from vivface.media.video import VideoReader
from vivface.reenactment.rendering import RenderOptions
from vivface.warping.background import behind, check_background

REPOSITORY = Path(__file__).parents[2]
GREEN = (0, 177, 64)


@pytest.fixture(scope="module")
def pipeline() -> VivFacePipeline:
    pipe = VivFacePipeline.from_pretrained()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def result(pipeline, background):
    portrait, clip = REPOSITORY / "examples" / "portrait.png", REPOSITORY / "examples" / "driving.mp4"
    return pipeline(portrait, clip, size=128, duration=0.3, background=background)


class TestBehind:
    def test_a_colour(self):
        assert (behind("#00b140", 8) == GREEN).all()

    def test_the_middle_of_a_picture(self):
        picture = np.zeros((40, 80, 3), np.uint8)
        picture[:, 20:60] = 200
        assert (behind(picture, 20) == 200).all()
        assert (behind(picture, 60) > 190).all()

    def test_neither_colour_nor_file(self):
        with pytest.raises(OptionError, match="expected keep, transparent, a colour"):
            check_background("nowhere.png")


class TestFrames:
    def test_a_colour_behind_the_person(self, pipeline):
        frame = next(iter(result(pipeline, "#00b140")))
        assert np.abs(frame[:20, :20].astype(int) - GREEN).max() < 4
        assert np.abs(frame[60:80, 60:70].astype(int) - GREEN).max(-1).min() > 30

    def test_a_picture_behind_the_person(self, pipeline, tmp_path):
        Image.new("RGB", (300, 200), GREEN).save(tmp_path / "green.png")
        for picture in (str(tmp_path / "green.png"), Image.open(tmp_path / "green.png")):
            frame = next(iter(result(pipeline, picture)))
            assert np.abs(frame[:20, :20].astype(int) - GREEN).max() < 4

    def test_transparent_frames_have_their_opacity(self, pipeline):
        frame = next(iter(result(pipeline, "transparent")))
        assert frame.shape == (128, 128, 4)
        assert frame[:20, :20, 3].max() < 8 and frame[60:90, 55:75, 3].min() == 255

    @pytest.mark.parametrize("name", ["out.webp", "out.mov", "out.webm", "frames/%03d.png"])
    def test_a_transparent_film(self, pipeline, tmp_path, name):
        made = result(pipeline, "transparent")
        path = made.save(tmp_path / name)
        film = sorted(path.parent.glob("*.png"))[0] if "%" in name else path
        if film.suffix in (".png", ".webp"):
            with Image.open(film) as image:
                opacity = np.asarray(image.convert("RGBA"))[..., 3]
            assert opacity[:20, :20].max() < 8 and opacity[60:90, 55:75].min() == 255
        else:
            with VideoReader(film) as video:  # which shows transparent pixels over white
                shown = next(iter(video)).image
            if film.suffix == ".mov":  # the usual decoder of VP9 leaves opacity out
                assert shown[:20, :20].min() > 240
            assert shown[60:90, 55:75].mean() < 235

    def test_formats_without_opacity_say_so(self, pipeline, tmp_path):
        with pytest.raises(OptionError, match="transparen"):
            result(pipeline, "transparent").save(tmp_path / "out.mp4")
        with pytest.raises(OptionError, match="GIF"):
            result(pipeline, "transparent").save(tmp_path / "out.gif")


@pytest.mark.parametrize("options", [{"paste_back": True, "detail": True}, {"detail": False}])
def test_only_a_moving_photograph_has_another_background(options):
    with pytest.raises(OptionError, match="Another background"):
        RenderOptions(background="white", **options)


def test_a_picture_that_is_an_array():
    assert behind(gradient(64), 32).shape == (32, 32, 3)
