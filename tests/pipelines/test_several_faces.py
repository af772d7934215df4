"""Several faces of one photograph, each under a driver of its own."""

import cv2
import numpy as np
import pytest
import torch

from tests.clips import face_frame, read_sound_packets, read_times, write_face_clip
from tests.motion import blind_subspace, talking, turning
from vivface import NoFaceError, OptionError
from vivface.editing import AttributeDirections, Direction
from vivface.media import VideoReader, save_image
from vivface.warping.head_window import Window

SHUT, OPEN = [1.0] * 8, [1.0] * 6 + [20.0] * 2


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A photograph of two faces: the larger on the left."""
    picture = np.full((260, 480, 3), 90, np.uint8)
    picture[20:240, 10:230] = face_frame(0.0, 220)
    picture[60:220, 300:460] = face_frame(0.5, 160)
    path = tmp_path_factory.mktemp("group") / "group.png"
    save_image(path, cv2.GaussianBlur(picture, (0, 0), 0.7))
    return path


@pytest.fixture(scope="module")
def duet(tmp_path_factory):
    """A clip of two faces."""
    from vivface.media.writer import VideoWriter

    path = tmp_path_factory.mktemp("duet") / "duet.mp4"
    with VideoWriter(path, (320, 192), 25) as writer:
        for number in range(6):
            frame = np.full((192, 320, 3), 128, np.uint8)
            frame[:, :192], frame[40:168, 192:] = face_frame(number / 25), face_frame(0.4 + number / 25, 128)
            writer.write(frame)
    return path


def lips(pipeline, picture: np.ndarray) -> list[float]:
    """Gap of the lips of both faces, the larger first, per height of the face."""
    found = pipeline.backend.detect(picture, effort="high")
    return [float(np.linalg.norm(f.landmarks[66] - f.landmarks[62]) / np.ptp(f.landmarks[:, 1])) for f in found]


def first_and_last(result) -> tuple[np.ndarray, np.ndarray]:
    frames = list(result)
    return frames[0], frames[-1]


def halves(first: np.ndarray, second: np.ndarray) -> tuple[bool, bool]:
    """Whether anything differs around the left and the right face."""
    changed = (first != second).any(-1)
    return bool(changed[:, :240].any()), bool(changed[:, 290:].any())


def test_each_face_follows_its_own_driver(tiny_pipeline, group):
    still, speaking = talking(tiny_pipeline, SHUT), talking(tiny_pipeline, OPEN)
    for drivers, moves in (((still, speaking), (False, True)), ((speaking, still), (True, False))):
        result = tiny_pipeline(group, still, faces=list(enumerate(drivers)))
        first, last = first_and_last(result)
        assert halves(first, last) == moves
        which = moves.index(True)
        assert lips(tiny_pipeline, last)[which] > lips(tiny_pipeline, first)[which] + 0.02


def test_parts_hold_for_every_face(tiny_pipeline, group):
    from vivface.warping.parts import Parts

    driver = talking(tiny_pipeline, OPEN)
    first, last = first_and_last(tiny_pipeline(group, driver, faces="all", parts=Parts(mouth=0.0, eyes=0.0, brows=0.0)))
    assert np.abs(first.astype(int) - last).max() <= 3  # the driver's head stays, and so does all the rest


def test_one_driver_moves_all(tiny_pipeline, group):
    result = tiny_pipeline(group, talking(tiny_pipeline, OPEN), faces="all")
    assert len(result.faces) == 2 and result.faces[0].motion is result.faces[1].motion
    assert halves(*first_and_last(result)) == (True, True)


def test_a_second_driver_turns_every_head(tiny_pipeline, group, monkeypatch):
    monkeypatch.setattr(tiny_pipeline, "pose_subspace", blind_subspace(tiny_pipeline))
    still, second = talking(tiny_pipeline, SHUT), turning(tiny_pipeline, [0.0] * 6 + [15.0] * 2)
    assert halves(*first_and_last(tiny_pipeline(group, still, faces="all"))) == (False, False)
    assert halves(*first_and_last(tiny_pipeline(group, still, faces="all", co_driving=second))) == (True, True)
    first, last = first_and_last(tiny_pipeline(group, second, faces="all", pose="source"))
    assert np.abs(first.astype(int) - last).max() <= 3


def test_edits_are_of_every_driven_face(tiny_pipeline, group, monkeypatch):
    step = torch.randn(tiny_pipeline.generator.num_latents, 32, generator=torch.Generator().manual_seed(0))
    directions = AttributeDirections([Direction("age", "Age", "w_plus", 3 * step, reach=2.0)])
    monkeypatch.setattr(tiny_pipeline, "directions", directions)
    still = talking(tiny_pipeline, SHUT)
    for faces, changed in (({1: still}, (False, True)), ("all", (True, True))):
        plain, edited = (next(iter(tiny_pipeline(group, still, faces=faces, edits=e))) for e in (None, {"age": 2}))
        assert halves(plain, edited) == changed
    with pytest.raises(OptionError, match="edited once"):
        tiny_pipeline(group, still, faces="all", edits={"age": {0: 0, 1: 2}})


def test_pixels_away_from_the_heads_stay(tiny_pipeline, group):
    result = tiny_pipeline(group, talking(tiny_pipeline, OPEN), faces="all")
    photo, (_, last) = result.identity.photo, first_and_last(result)
    assert last.shape == photo.shape and result.size == (480, 260)
    touched = np.zeros(photo.shape[:2], bool)
    for face in result.faces:
        window = Window.around(face.identity.quad)
        touched[max(window.top, 0) : window.top + window.size, max(window.left, 0) : window.left + window.size] = True
    assert not touched.all() and np.array_equal(last[~touched], photo[~touched])


def test_a_face_that_is_not_named_stays(tiny_pipeline, group):
    result = tiny_pipeline(group, talking(tiny_pipeline, OPEN), faces={1: 0})
    left = np.array_equal(first_and_last(result)[1][:, :220], result.identity.photo[:, :220])
    assert left and halves(*first_and_last(result)) == (False, True)


def test_faces_of_a_clip_and_its_sound(tiny_pipeline, group, duet, face_clip, tmp_path):
    """The clip gives times and sound; another one drives the other face."""
    result = tiny_pipeline(group, face_clip, faces=[(0, 0), (1, (duet, 1))], fit="hold")
    path = result.save(tmp_path / "out.mp4")
    assert read_times(path) == read_times(face_clip)
    assert [packet for _, packet in read_sound_packets(path)] == [packet for _, packet in read_sound_packets(face_clip)]
    assert result.report.frames == 21
    trimmed = tiny_pipeline(group, face_clip, faces=[(0, 0), (1, (duet, 1))])
    assert sum(1 for _ in trimmed) == 6


def test_a_clip_of_several_faces_says_how_to_choose(tiny_pipeline, portrait, duet):
    result = tiny_pipeline(portrait, duet, duration=0.2)
    list(result)
    (note,) = [note for note in result.report.warnings if "faces" in note]
    assert note.startswith("2 faces in 'duet.mp4': the largest was followed") and "driving_face (0 to 1," in note
    assert "enters later" in note and "start" in note
    result = tiny_pipeline(portrait, duet, driving_face=1, duration=0.2)
    list(result)
    assert not [note for note in result.report.warnings if "faces" in note]


def test_both_faces_of_a_clip(tiny_pipeline, group, duet):
    result = tiny_pipeline(group, duet, faces=[(0, 1), (1, 0)])
    frames = list(result.frames(images=True))
    assert len(frames) == 6 and frames[0].driving.shape == (192, 320, 3)
    assert {face.motion.video for face in result.faces} == {duet}


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(faces=[(0, 0)], face=1), "both given"),
        (dict(faces=[(0, 0)], size=512), "leave out `size`"),
        (dict(faces=[(0, 0)], detail=False), "leave out `detail`"),
        (dict(faces=[(0, 0)], adapt=5), "leave out `adapt`"),
        (dict(faces=[(0, 0)], head="replace"), "for films"),
        (dict(faces=[(0, 0)], sound="source"), "for films"),
        (dict(faces=[(0, 0)], fit="stretch"), "fit"),
        (dict(faces=[(0, 3)]), "one face"),
        (dict(head="replace"), "for films"),
    ],
)
def test_what_does_not_go_together_is_said(tiny_pipeline, group, motion_file, options, words):
    with pytest.raises(OptionError, match=words):
        tiny_pipeline(group, motion_file, **options)


def test_faces_that_are_not_there_are_named(tiny_pipeline, group, motion_file, portrait):
    with pytest.raises(NoFaceError, match="Face 2 was asked for, but 2 faces were found in 'group.png'"):
        tiny_pipeline(group, motion_file, faces=[(2, 0)])
    with pytest.raises(OptionError, match="identity code holds one face"):
        tiny_pipeline(tiny_pipeline.encode_identity(portrait), motion_file, faces="all")


def test_command_line(run_cli, tiny_checkpoint, group, face_clip, motion_file, tmp_path):
    output = tmp_path / "out.mp4"
    status, out, err = run_cli(
        "reenact", group, face_clip, "-o", output, "--checkpoint", tiny_checkpoint, "--faces", f"0:0,1:{motion_file}"
    )
    assert status == 0, err
    assert VideoReader(output).size == (480, 260) and "21 frames" in out
    status, _, err = run_cli("reenact", group, face_clip, "-o", output, "--checkpoint", tiny_checkpoint, "--faces", "0")
    assert status == 2 and "expected 'all', or pairs" in err


def test_marks_name_all_drivers(tiny_pipeline, group, duet, face_clip):
    result = tiny_pipeline(group, face_clip, faces=[(0, 0), (1, (duet, 1))])
    assert set(result._files()) == {group, face_clip, duet}
    other = tiny_pipeline(group, face_clip, faces=[(0, (duet, 1)), (1, 0)])
    assert result.stamp().identifier != other.stamp().identifier


def test_a_hidden_driver_is_counted(tiny_pipeline, group, tmp_path):
    clip = write_face_clip(tmp_path / "hidden.mp4", 5, hidden=range(2, 4))
    result = tiny_pipeline(group, clip, faces=[(1, 0)])
    assert sum(1 for _ in result) == 5
    assert any("2 of the 5 frames of 'hidden.mp4'" in note for note in result.report.warnings)
