"""An expression added to that of a film's face, without a driver."""

import numpy as np
import pytest

from tests.clips import read_sound_packets, read_times, write_face_clip, write_sound
from tests.pipelines.test_films import frames_of, lips, yaw
from vivface import MediaError, OptionError
from vivface.faces.landmarks import choose_face
from vivface.provenance import verify

FRAMES = 8


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    return write_face_clip(folder / "film.mp4", FRAMES, sound=write_sound(folder / "sound.m4a", 0.32))


def corners(pipeline, picture: np.ndarray) -> float:
    """How high the corners of the mouth are above its middle, per height of the face."""
    marks = choose_face(pipeline.backend.detect(picture)).landmarks
    return float((marks[[51, 57], 1].mean() - marks[[48, 54], 1].mean()) / np.ptp(marks[:, 1]))


def test_every_frame_smiles_and_the_rest_stays(tiny_pipeline, film):
    made, own = list(tiny_pipeline.express_film(film, {"smile": 1.0})), frames_of(film)
    assert len(made) == FRAMES
    for now, before in zip(made, own, strict=True):
        assert corners(tiny_pipeline, now) > corners(tiny_pipeline, before) + 0.01
        marks = choose_face(tiny_pipeline.backend.detect(before)).landmarks
        x = np.nonzero((np.abs(now.astype(int) - before).max(-1) > 3).any(0))[0]
        margin = 0.25 * np.ptp(marks[:, 0])
        assert x.min() > marks[:, 0].min() - margin and x.max() < marks[:, 0].max() + margin


def test_key_frames_are_seconds_of_the_film(tiny_pipeline, film):
    made, own = list(tiny_pipeline.express_film(film, {"mouth_open": {0: 0, 0.16: 0, 0.2: 1}})), frames_of(film)
    assert np.abs(made[2].astype(int) - own[2]).max() <= 8  # less is rounding
    opened = [lips(tiny_pipeline, now) - lips(tiny_pipeline, before) for now, before in zip(made, own, strict=True)]
    assert max(opened[:5]) < 0.02 < min(opened[5:])


def test_the_head_turns_if_it_is_asked_to(tiny_pipeline, film):
    made, own = list(tiny_pipeline.express_film(film, {"yaw": 15})), frames_of(film)
    assert yaw(tiny_pipeline, made[-1]) - yaw(tiny_pipeline, own[-1]) == pytest.approx(15, abs=6)


def test_the_command_keeps_times_and_sound_and_marks(run_cli, film, tmp_path):
    out = tmp_path / "out.mp4"
    status, said, _ = run_cli("edit", film, "-o", out, "--preset", "smile", "--expression", "brows=0.5")
    assert status == 0 and "8 frames" in said and "brows 0.5" in said
    assert read_times(out) == read_times(film)
    assert [data for _, data in read_sound_packets(out)] == [data for _, data in read_sound_packets(film)]
    assert verify(out).verdict == "synthetic"


@pytest.mark.parametrize(
    "expression, words",
    [
        ({}, "changes nothing"),
        ({"smile": 0, "lids": {0: 0, 1: 0}}, "changes nothing"),
        ({"laughter": 1}, "no expression control 'laughter'"),
        ({"smile": {0: 0, 1: 7}}, "`smile` is 7"),
        ({"smile": []}, "key frames of the control 'smile'"),
    ],
)
def test_expressions_that_cannot_be(tiny_pipeline, film, expression, words):
    with pytest.raises(OptionError, match=words):
        tiny_pipeline.express_film(film, expression)


def test_a_film_that_is_none(tiny_pipeline, tmp_path):
    (tmp_path / "film.mp4").write_text("no film")
    with pytest.raises(MediaError):
        list(tiny_pipeline.express_film(tmp_path / "film.mp4", {"smile": 1}))


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "takes an expression"),
        (["--expression", "smile=1", "--edit", "age=1"], "leave out --edit"),
        (["--expression", "smile=1", "--strip"], "leave out --strip"),
        (["--expression", "smile=1", "--size", "512"], "leave out --size"),
    ],
)
def test_options_that_are_for_photographs(run_cli, film, tmp_path, options, words):
    status, _, error = run_cli("edit", film, "-o", tmp_path / "out.mp4", *options)
    assert status == 2 and words in error and not (tmp_path / "out.mp4").exists()


def test_a_photograph_does_not_change_over_time(run_cli, portrait, tmp_path):
    status, _, error = run_cli("edit", portrait, "-o", tmp_path / "a.png", "--expression", "smile=0:0,1:1")
    assert status == 2 and "is for films" in error
