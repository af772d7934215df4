"""Which face is driven by what: texts, pairs and mappings, and what is refused."""

from pathlib import Path

import pytest

from vivface.errors import OptionError
from vivface.reenactment.face_pairs import FacePair, face_pairs


@pytest.mark.parametrize(
    "faces",
    [
        "0:0,1:1,2:other.mp4,3:other.mp4:1,4:nod",
        [(0, 0), (1, 1), (2, "other.mp4"), (3, ("other.mp4", 1)), (4, "nod")],
        {0: 0, 1: 1, 2: "other.mp4", 3: ("other.mp4", 1), 4: "nod"},
    ],
)
def test_texts_pairs_and_mappings_say_the_same(faces):
    assert face_pairs(faces) == [
        FacePair(0, None, 0),
        FacePair(1, None, 1),
        FacePair(2, "other.mp4"),
        FacePair(3, "other.mp4", 1),
        FacePair(4, "nod"),
    ]


def test_all_faces_have_one_driver():
    assert face_pairs("all", 3, 1) == [FacePair(face, None, 1) for face in range(3)]


def test_paths_may_have_colons_and_be_paths():
    assert face_pairs(r"1:C:\clips\b.mp4") == [FacePair(1, r"C:\clips\b.mp4")]
    assert face_pairs([(0, Path("a.mp4"))]) == [FacePair(0, Path("a.mp4"))]


@pytest.mark.parametrize(
    "faces", ["", "0", "0:", ":1", "a:1", "-1:0", "0:0,,1:1", [], [(0,)], [(0, -1)], [(0, 1.5)], 7]
)
def test_what_is_not_understood_is_refused(faces):
    with pytest.raises(OptionError, match="faces"):
        face_pairs(faces)


def test_a_face_has_one_driver():
    with pytest.raises(OptionError, match="face 1 twice"):
        face_pairs("0:0,1:1,1:2")
