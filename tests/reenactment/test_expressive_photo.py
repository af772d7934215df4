"""A photograph under sliders, presets as files, strips, and the command that makes them."""

import json

import cv2
import numpy as np
import pytest

from vivface.errors import MediaError, OptionError
from vivface.media import load_image
from vivface.reenactment.expressive_photo import load_preset, save_preset, variants
from vivface.warping.controls import CONTROLS, PRESETS


@pytest.fixture(scope="module")
def identity(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def photo(tiny_pipeline, identity):
    return tiny_pipeline.expressive_photo(identity, size=128)


class TestThePhotograph:
    def test_it_is_as_it_was_without_an_expression(self, photo):
        assert np.array_equal(photo({}), photo({"smile": 0})) and photo({}).shape == (128, 128, 3)

    def test_an_expression_changes_what_it_should(self, photo):
        hardly, wide, wink = {"roll": 0.001}, {"mouth_open": 1}, {"wink_left": 1}  # all of them parted into layers
        still, opened, winks = (photo(values).astype(int) for values in (hardly, wide, wink))
        mouth, eyes = slice(80, 128), slice(40, 68)
        assert np.abs(opened - still)[mouth].mean() > 6 > 2 > np.abs(opened - still)[eyes].mean()
        assert np.abs(winks - still)[mouth].mean() < 1
        halves = np.abs(winks - still)[eyes]
        assert halves[:, 64:].mean() > 4 * halves[:, :64].mean()  # the person's left is on the right of the image

    def test_one_change_is_one_frame(self, photo):
        """Nothing is left of the expression before."""
        photo({"yaw": 20, "grin": 1})
        assert np.array_equal(photo({"smile": 0.5}), photo({"smile": 0.5}))

    def test_the_same_by_its_name(self, tiny_pipeline, identity, photo):
        assert np.array_equal(tiny_pipeline.express(identity, {"brows": 1}, size=128), photo({"brows": 1}))

    def test_the_whole_photo(self, tiny_pipeline, identity):
        image = tiny_pipeline.express(identity, {"mouth_open": 1}, paste_back=True)
        assert image.shape == identity.photo.shape
        changed = (image != identity.photo).any(-1)
        assert changed.any() and not changed.all()

    def test_a_strip(self, photo):
        strip = photo.strip({"mouth_open": 1.0}, count=3)
        assert strip.shape == (128, 3 * 128, 3)
        assert np.array_equal(strip[:, :128], photo({})) and np.array_equal(strip[:, 256:], photo({"mouth_open": 1}))
        for wrong in ({"vary": "nose"}, {"count": 1}, {"count": 100}):
            with pytest.raises(OptionError):
                photo.strip({}, **wrong)

    def test_variants_go_through_a_control(self):
        made = variants({"smile": 0.5}, "yaw", 3)
        assert made == [{"smile": 0.5, "yaw": value} for value in (-25.0, 0.0, 25.0)]


class TestPresets:
    def test_they_come_back(self, tmp_path):
        values = {"smile": 0.25, "yaw": -10.0}
        assert load_preset(save_preset(values, tmp_path / "mine.json")) == values
        assert load_preset("laugh") == PRESETS["laugh"]

    @pytest.mark.parametrize(
        "content, error",
        [
            ("{", MediaError),
            ("[1]", MediaError),
            ('{"format": "other"}', MediaError),
            (json.dumps({"format": "vivface-expression-1", "expression": {"nose": 1}}), OptionError),
            (json.dumps({"format": "vivface-expression-1", "expression": [1]}), OptionError),
            (" " * 200_000, MediaError),
        ],
    )
    def test_other_files_are_refused(self, tmp_path, content, error):
        path = tmp_path / "x.json"
        path.write_text(content)
        with pytest.raises(error):
            load_preset(path)

    def test_what_is_missing(self, tmp_path):
        with pytest.raises(OptionError, match="no preset 'nobody'"):
            load_preset("nobody")
        with pytest.raises(MediaError, match="cannot be read"):
            load_preset(tmp_path / "none.json")


class TestCommand:
    def test_an_expression_a_preset_and_a_strip(self, run_cli, portrait, tiny_checkpoint, tmp_path):
        out, preset = tmp_path / "out.png", tmp_path / "mine.json"
        given = ["--checkpoint", tiny_checkpoint, "--size", 128, "--no-manifest"]
        shown = ["--preset", "wink", "--expression", "smile=0.2", "--expression", "yaw=5", "--save-preset", preset]
        status, printed, error = run_cli("edit", portrait, "-o", out, *given, *shown)
        assert status == 0 and "smile=0.2" in printed and "yaw=5" in printed, error
        assert load_preset(preset) == PRESETS["wink"] | {"smile": 0.2, "yaw": 5.0}
        assert load_image(out).shape == (128, 128, 3)
        status, _, error = run_cli("edit", portrait, "-o", out, *given, "--preset", preset, "--strip", "--vary", "lids")
        assert status == 0 and cv2.imread(str(out)).shape == (128, 5 * 128, 3), error

    @pytest.mark.parametrize(
        "options, words",
        [
            (["--expression", "nose=1"], "nose"),
            (["--expression", "smile"], "NAME=AMOUNT"),
            (["--expression", "smile=9"], "-1 to 1"),
            (["--preset", "nobody"], "nobody"),
            (["--vary", "yaw"], "--strip"),
            (["--strip", "--no-detail"], "--no-detail"),
        ],
    )
    def test_refused(self, run_cli, portrait, tmp_path, options, words):
        status, out, error = run_cli("edit", portrait, "-o", tmp_path / "out.png", *options)
        assert status == 2 and out == "" and words in error and "Traceback" not in error

    def test_help_names_every_control(self, run_cli):
        status, out, _ = run_cli("edit", "--help")
        assert status == 0 and all(name in out for name in CONTROLS)
