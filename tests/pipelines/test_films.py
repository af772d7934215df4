"""A film as the source: what is put onto its face, and what stays as it was."""

from fractions import Fraction

import numpy as np
import pytest

from tests.clips import face_frame, portrait, read_sound_packets, read_times, write_face_clip, write_sound
from tests.motion import blind_subspace, talking, turning
from vivface import MediaError, NoFaceError, OptionError
from vivface.faces.landmarks import choose_face
from vivface.faces.pose import head_pose
from vivface.media import VideoReader
from vivface.media.writer import VideoWriter
from vivface.warping.mesh import MESH, PointsReader

OPENING = [1.0] * 8 + [20.0] * 4
TURN = [0.0] * 9 + [-20.0] * 3


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """12 frames of a face, with sound."""
    folder = tmp_path_factory.mktemp("film")
    return write_face_clip(folder / "film.mp4", 12, sound=write_sound(folder / "sound.m4a", 0.48))


def frames_of(path) -> list[np.ndarray]:
    return [frame.image for frame in VideoReader(path)]


def lips(pipeline, picture: np.ndarray) -> float:
    marks = choose_face(pipeline.backend.detect(picture)).landmarks
    return float(np.linalg.norm(marks[66] - marks[62]) / np.ptp(marks[:, 1]))


def yaw(pipeline, picture: np.ndarray) -> float:
    face = choose_face(pipeline.backend.detect(picture))
    return float(np.degrees(head_pose(PointsReader().read(picture, face)[:MESH]).angles[0]))


def test_the_film_speaks_as_the_driver_does_and_the_rest_stays(tiny_pipeline, film):
    driver = talking(tiny_pipeline, OPENING)
    made, own = list(tiny_pipeline(film, driver)), frames_of(film)
    assert len(made) == 12 and made[0].shape == own[0].shape
    assert lips(tiny_pipeline, made[-1]) > lips(tiny_pipeline, made[0]) + 0.02
    for now, before in zip(made, own, strict=True):
        changed = np.abs(now.astype(int) - before).max(-1) > 3  # less is rounding
        marks = choose_face(tiny_pipeline.backend.detect(before)).landmarks
        low, high = marks.min(0), marks.max(0)
        y, x = np.nonzero(changed)
        margin = 0.25 * (high - low)
        assert x.min() > low[0] - margin[0] and x.max() < high[0] + margin[0]  # the face alone
        assert y.min() > low[1] - margin[1] and y.max() < high[1] + 1.5 * margin[1]


def test_without_strength_the_film_stays_as_it_is(tiny_pipeline, film):
    for now, before in zip(
        tiny_pipeline(film, talking(tiny_pipeline, OPENING), strength=0), frames_of(film), strict=True
    ):
        difference = np.abs(now.astype(int) - before)
        assert difference.max() <= 8 and difference.mean() < 0.01


def test_parts_may_be_left_to_the_film(tiny_pipeline, film):
    from vivface.warping.parts import Parts

    driver = talking(tiny_pipeline, OPENING)
    driven, left = (list(tiny_pipeline(film, driver, parts=Parts(mouth=mouth)))[-1] for mouth in (1.0, 0.0))
    own = lips(tiny_pipeline, frames_of(film)[-1])
    assert abs(lips(tiny_pipeline, left) - own) < 0.01 < abs(lips(tiny_pipeline, driven) - own)


def test_times_and_sound_of_the_film_are_kept(tiny_pipeline, film, face_clip, tmp_path):
    path = tiny_pipeline(film, talking(tiny_pipeline, OPENING)).save(tmp_path / "out.mp4")
    assert read_times(path) == read_times(film)
    assert [data for _, data in read_sound_packets(path)] == [data for _, data in read_sound_packets(film)]


def test_or_the_sound_of_the_driver(tiny_pipeline, film, face_clip, tmp_path):
    path = tiny_pipeline(film, face_clip, sound="driving").save(tmp_path / "out.mp4")
    assert [data for _, data in read_sound_packets(path)][:20] == [data for _, data in read_sound_packets(face_clip)][
        :20
    ]
    with pytest.raises(OptionError, match="has none"):
        tiny_pipeline(film, talking(tiny_pipeline, OPENING), sound="driving")


@pytest.mark.parametrize("fit, count", [("trim", 7), ("hold", 12), ("loop", 12), ("mirror", 12)])
def test_lengths_that_differ(tiny_pipeline, film, fit, count):
    driver = talking(tiny_pipeline, [1.0] * 5 + [20.0] * 2)
    result = tiny_pipeline(film, driver, fit=fit)
    made = list(result)
    assert len(made) == count == result.report.frames
    if fit in ("hold", "mirror"):
        opened = lips(tiny_pipeline, made[-1]) > lips(tiny_pipeline, made[0]) + 0.02
        assert opened == (fit == "hold")


def test_rates_that_differ(tiny_pipeline, film):
    """A driver at 50 frames a second opens the mouth after the same time."""
    driver = talking(tiny_pipeline, [1.0] * 14 + [20.0] * 12, fps=50)
    made = list(tiny_pipeline(film, driver))
    opened = [lips(tiny_pipeline, now) > lips(tiny_pipeline, made[0]) + 0.02 for now in made]
    assert len(made) == 12 and opened.index(True) == 7 and all(opened[7:])


def test_frames_without_a_face_are_copied_with_one_warning(tiny_pipeline, tmp_path):
    film = write_face_clip(tmp_path / "film.mp4", 12, hidden=range(5, 8))
    result = tiny_pipeline(film, talking(tiny_pipeline, [8.0] * 12))
    made, own = list(result), frames_of(film)
    same = [bool(np.array_equal(now, before)) for now, before in zip(made, own, strict=True)]
    assert same == [5 <= number < 8 for number in range(12)]
    notes = [note for note in result.report.warnings if "stayed as they are" in note]
    assert len(notes) == 1 and "3 of the 12 frames of 'film.mp4'" in notes[0]


def test_a_still_film_under_a_still_driver_does_not_tremble(tiny_pipeline, tmp_path):
    """Noise in the film's pixels, as cameras make it, is not amplified."""
    path, random = tmp_path / "film.mp4", np.random.default_rng(0)
    with VideoWriter(path, (192, 192), 25, crf=10) as writer:
        for _ in range(12):
            noisy = face_frame(0.0) + random.normal(0, 3, (192, 192, 3))
            writer.write(noisy.clip(0, 255).astype(np.uint8))
    made, own = list(tiny_pipeline(path, talking(tiny_pipeline, [8.0] * 12))), frames_of(path)

    def trembling(frames: list[np.ndarray]) -> float:
        return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:], strict=False)]))

    assert trembling(made) < 1.2 * trembling(own)


def test_heads_turn_as_the_driver_does_if_asked(tiny_pipeline, film):
    driver = turning(tiny_pipeline, TURN)
    kept, replaced = (list(tiny_pipeline(film, driver, head=head))[-1] for head in ("keep", "replace"))
    own = yaw(tiny_pipeline, frames_of(film)[-1])
    assert abs(yaw(tiny_pipeline, kept) - own) < 3 and yaw(tiny_pipeline, replaced) < own - 8


def test_heads_turn_as_a_second_driver_does(tiny_pipeline, film, monkeypatch):
    monkeypatch.setattr(tiny_pipeline, "pose_subspace", blind_subspace(tiny_pipeline))
    still, second = talking(tiny_pipeline, [1.0] * 12), turning(tiny_pipeline, TURN)
    made = list(tiny_pipeline(film, still, head="replace", co_driving=second))
    assert yaw(tiny_pipeline, made[-1]) < yaw(tiny_pipeline, made[0]) - 8
    with pytest.raises(OptionError, match="'replace'"):
        tiny_pipeline(film, still, co_driving=second)
    with pytest.raises(OptionError, match="choose one"):
        tiny_pipeline(film, still, head="replace", pose="source")
    with pytest.raises(OptionError, match="not edited"):
        tiny_pipeline(film, still, edits={})


def test_several_faces_of_a_film(tiny_pipeline, tmp_path):
    path = tmp_path / "film.mp4"
    with VideoWriter(path, (320, 192), 25) as writer:
        for number in range(4):
            frame = np.full((192, 320, 3), 128, np.uint8)
            frame[:, :192], frame[40:168, 192:] = face_frame(number / 25), face_frame(0.4 + number / 25, 128)
            writer.write(frame)
    made = list(tiny_pipeline(path, talking(tiny_pipeline, [12.0] * 4), faces={1: talking(tiny_pipeline, [9.0] * 4)}))
    changed = (made[-1] != frames_of(path)[-1]).any(-1)
    assert changed[:, 192:].any() and not changed[:, :180].any()
    result = tiny_pipeline(path, talking(tiny_pipeline, [12.0] * 4), faces="all")
    changed = (list(result)[-1] != frames_of(path)[-1]).any(-1)
    assert changed[:, 200:].any() and changed[:, :180].any()


def test_what_a_film_cannot_be_is_said(tiny_pipeline, tmp_path, film, motion_file):
    empty = write_face_clip(tmp_path / "empty.mp4", 4, hidden=range(4))
    with pytest.raises(NoFaceError, match="'empty.mp4'"):
        list(tiny_pipeline(empty, talking(tiny_pipeline, OPENING)))
    with pytest.raises(OptionError, match="head"):
        tiny_pipeline(film, motion_file, head="turn")
    with pytest.raises(OptionError, match="vivface motion"):
        tiny_pipeline(film, motion_file).save(tmp_path / "out.mp4", save_motion=tmp_path / "motion.safetensors")
    assert not (tmp_path / "out.mp4").exists()
    without = talking(tiny_pipeline, OPENING)
    without.has_points = False
    with pytest.raises(MediaError, match="no points"):
        tiny_pipeline(film, without)


def test_command_line(run_cli, tiny_checkpoint, film, motion_file, tmp_path):
    output = tmp_path / "out.mp4"
    options = ("-o", output, "--checkpoint", tiny_checkpoint, "--fit", "mirror", "--head", "replace", "--side-by-side")
    status, out, err = run_cli("reenact", film, motion_file, *options)
    assert status == 0, err
    assert "12 frames" in out and VideoReader(output).size == (384, 192)
    assert read_times(output) == [Fraction(number, 25) for number in range(12)]


def test_animated_images_stay_portraits(tiny_pipeline, motion_file, tmp_path):
    from PIL import Image

    from vivface.media.images import is_film

    frames = [Image.fromarray(portrait()) for _ in range(2)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert not is_film(tmp_path / "moving.gif") and not is_film(portrait()) and not is_film(tmp_path / "nothing.mp4")
    assert tiny_pipeline(tmp_path / "moving.gif", motion_file).identity is not None
