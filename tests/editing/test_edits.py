"""Edits over time: eq. 4 frame by frame, key frames, what the command line understands, and what is refused."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.motion import ListedMotion
from tests.tiny import make_tiny_hybrid, make_tiny_pipeline
from vivface import MotionCodes
from vivface.editing import AttributeDirections, Direction, TimedEdits, parse_edits
from vivface.errors import CheckpointError, OptionError
from vivface.hub.index import bundled_checkpoint


@pytest.fixture(scope="module", params=["main", "hybrid"])
def pipeline(request):
    pipeline = make_tiny_pipeline() if request.param == "main" else make_tiny_hybrid()
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(0)
    latents = pipeline.generator.num_latents
    pipeline.directions = AttributeDirections(
        [
            Direction("age", "Age", "w_plus", torch.randn(latents, 32, generator=random)),
            Direction("smile", "Smile", "motion", torch.randn(10, 32, generator=random), reach=2.0),
        ]
    )
    return pipeline


@pytest.fixture(scope="module")
def identity(pipeline, portrait):
    return pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def motion(pipeline):
    codes = torch.randn(6, 10, 32, generator=torch.Generator().manual_seed(2))
    return ListedMotion(codes, fingerprint=pipeline.fingerprint)


def frames(pipeline, identity, motion, **options) -> np.ndarray:
    return np.stack(list(pipeline.render(identity, motion, **options))).astype(int)


class TestOverTime:
    @pytest.mark.parametrize("name", ["age", "smile"])
    def test_every_frame_has_its_own_amount(self, pipeline, identity, motion, name):
        """A frame of a changing edit is the frame of the constant edit of that moment (25 frames a second)."""
        changing = frames(pipeline, identity, motion, edits={name: lambda seconds: 5 * seconds}, batch_size=4)
        for number in (0, 2, 5):
            constant = frames(pipeline, identity, motion, edits={name: number / 5})[number]
            assert np.abs(changing[number] - constant).max() <= 1
        assert np.abs(changing[5] - frames(pipeline, identity, motion)[5]).mean() > 1

    @pytest.mark.parametrize("given", [{0: 0, 0.2: 1}, [(0.2, 1), (0, 0)], {"0": 0, "0.2": 1.0}])
    def test_key_frames(self, pipeline, identity, motion, given):
        lines = frames(pipeline, identity, motion, edits={"age": given})
        function = frames(pipeline, identity, motion, edits={"age": lambda seconds: min(5 * seconds, 1)})
        assert np.abs(lines - function).max() <= 1

    def test_held_before_the_first_and_after_the_last(self, pipeline, identity):
        edits = TimedEdits(pipeline.directions, {"smile": {1: 0.5, 2: 1.5}}, pipeline.generator)
        _, moved = edits(identity, torch.zeros(4, 10, 32), [Fraction(0), Fraction(1), Fraction(7, 4), Fraction(9)])
        expected = torch.tensor([0.5, 0.5, 1.25, 1.5])[:, None, None] * pipeline.directions["smile"].vector
        torch.testing.assert_close(moved, expected)

    def test_no_edits_change_nothing(self, pipeline, identity, motion):
        plain = frames(pipeline, identity, motion)
        for edits in ({}, {"age": 0}, {"age": 0.0, "smile": lambda seconds: 0}):
            assert np.array_equal(frames(pipeline, identity, motion, edits=edits), plain)

    @pytest.mark.parametrize("mode", ["absolute", "relative"])
    def test_strength_leaves_edits_alone(self, pipeline, identity, motion, mode):
        edits = {"smile": lambda seconds: 10 * seconds}
        moving = frames(pipeline, identity, motion, edits=edits, strength=0, motion_mode=mode)
        for number in (0, 3):
            still = pipeline.edit(identity, {"smile": number / 2.5}).astype(int)
            assert np.abs(moving[number] - still).max() <= 1

    def test_recorded_motion_is_unedited(self, pipeline, identity, motion, tmp_path):
        path = tmp_path / "motion.safetensors"
        pipeline(identity, motion, edits={"smile": 1.0}).save(tmp_path / "out.mp4", save_motion=path)
        saved = torch.cat([batch.codes for batch in MotionCodes.load(path)])
        torch.testing.assert_close(saved, torch.cat([batch.codes for batch in motion]))

    def test_the_tuned_generator_of_an_identity_is_used(self, pipeline, identity, motion):
        tuned = pipeline.adjust_manifold(identity, method="pti", steps=2)
        edits = TimedEdits(pipeline.directions, {"age": lambda seconds: 1.0}, pipeline.generator)
        edited, _ = edits(tuned, torch.zeros(1, 10, 32), [Fraction(0)])
        expected = tuned.generator.to_stylespace(edited.w_plus)
        for style, wanted in zip(edited.styles, expected, strict=True):
            torch.testing.assert_close(style, wanted)


class TestStill:
    def test_without_edits_it_is_the_portrait_in_its_own_motion(self, pipeline, identity, motion):
        still = frames(pipeline, identity, motion, strength=0)[0]
        assert np.abs(pipeline.edit(identity).astype(int) - still).max() <= 1

    def test_paste_back_gives_the_photo(self, pipeline, identity):
        assert pipeline.edit(identity, {"age": 1}, paste_back=True).shape == identity.photo.shape


class TestDirectionsOfAPipeline:
    def test_come_with_the_checkpoint(self, pipeline, tmp_path):
        pipeline.save_pretrained(tmp_path / "saved")
        loaded = type(pipeline).from_pretrained(tmp_path / "saved")
        assert list(loaded.directions) == ["age", "smile"]
        torch.testing.assert_close(loaded.directions["age"].vector, pipeline.directions["age"].vector)

    def test_a_checkpoint_without_has_none(self, tiny_pipeline):
        assert len(tiny_pipeline.directions) == 0

    def test_bundled(self):
        from vivface import load_pipeline

        assert set(load_pipeline().directions) == set(AttributeDirections.of_checkpoint(bundled_checkpoint()))

    def test_damaged(self, tiny_checkpoint, tmp_path):
        import shutil

        from vivface import load_pipeline

        shutil.copytree(tiny_checkpoint, tmp_path / "copy")
        (tmp_path / "copy" / "directions.safetensors").write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_pipeline(tmp_path / "copy")


class TestRefused:
    @pytest.mark.parametrize(
        ("edits", "words"),
        [
            ({"hat": 1}, "'hat'.*age, smile"),
            ({"age": 99}, "'age'.*-1 to 1"),
            ({"age": {0: 0, 1: 99}}, "'age'.*-1 to 1"),
            ({"age": {}}, "key frames.*'age'"),
            ({"age": [(0, 1), (0, 2)]}, "different times"),
            ({"age": {float("nan"): 1}}, "key frames"),
            ({"age": [1, 2]}, "key frames"),
            ({"age": "much"}, "'age'.*'much'"),
            (["age"], "amounts by name"),
        ],
    )
    def test_before_any_work(self, pipeline, edits, words):
        with pytest.raises(OptionError, match=words):
            pipeline("no such portrait", "no such clip", edits=edits)

    @pytest.mark.parametrize("function", [lambda seconds: "x", lambda seconds: 99, lambda: 1, lambda seconds: 1 / 0])
    def test_functions_that_give_no_amount(self, pipeline, identity, motion, function):
        with pytest.raises(OptionError, match="'age'"):
            frames(pipeline, identity, motion, edits={"age": function})

    def test_direction_of_another_generator(self, pipeline, identity, motion, monkeypatch):
        monkeypatch.setattr(
            pipeline, "directions", AttributeDirections([Direction("age", "Age", "w_plus", torch.ones(18, 512))])
        )
        with pytest.raises(OptionError, match="18 x 512 .*another generator"):
            frames(pipeline, identity, motion, edits={"age": 1})


class TestCommandLine:
    def test_understood(self):
        assert parse_edits(["age=1", "smile=0:0,2.5:-1"]) == {"age": 1.0, "smile": {0.0: 0.0, 2.5: -1.0}}

    @pytest.mark.parametrize("text", ["age", "=1", "age=", "age=x", "smile=0:0,1", "smile=0:0:0", "smile=:1"])
    def test_not_understood(self, text):
        with pytest.raises(OptionError, match="NAME=AMOUNT"):
            parse_edits([text])

    def test_twice(self):
        with pytest.raises(OptionError, match="twice"):
            parse_edits(["age=1", "age=2"])

    def test_reenact_tunes_edits_and_saves_the_identity(self, run_cli, portrait, face_clip, tmp_path):
        """The whole of it on the bundled checkpoint, then once more from the saved identity."""
        output, person = tmp_path / "out.mp4", tmp_path / "person.safetensors"
        common = ("--system", "hybrid", "--duration", "0.2", "--edit", "smile=0.8", "--edit", "age=0:0,0.2:1")
        first = run_cli(
            "reenact", portrait, face_clip, "-o", output, *common, "--adapt", "cma:2", "--save-identity", person
        )
        assert first[0] == 0 and output.exists() and person.exists(), first[2]
        again = run_cli("reenact", person, face_clip, "-o", output, *common)
        assert again[0] == 0, again[2]

    def test_edit(self, run_cli, portrait, tmp_path):
        from PIL import Image

        output = tmp_path / "out.png"
        status, printed, complaint = run_cli("edit", portrait, "-o", output, "--edit", "smile=1", "--adapt", "0")
        assert status == 0 and "smile=1" in printed, complaint
        assert Image.open(output).size == (512, 512)  # the photograph itself

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--edit", "hat=1"), "There is no direction 'hat'"),
            (("--edit", "age"), "NAME=AMOUNT"),
            (("--system", "dog"), "'dog'"),
            (("--adapt", "cma:-1"), "whole number"),
            (("--adapt", "dog"), "'dog'"),
            (("--adapt", "cma"), "adjust_manifold"),
        ],
    )
    def test_bad_input_is_one_sentence(self, run_cli, portrait, tmp_path, options, words):
        status, _, complaint = run_cli("edit", portrait, "-o", tmp_path / "out.png", *options)
        assert status == 2 and words in complaint and "Traceback" not in complaint
        assert not (tmp_path / "out.png").exists()
