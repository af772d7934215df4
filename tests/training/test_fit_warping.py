"""Movements of the mouth are found where they were planted."""

import numpy as np

from tests.warping.faces import face
from training.synthetic.motion import CONTROLS
from training.tools.fit_warping import MOUTH, Shapes, fit_controls, irises_ahead, jaw_drops, movements
from vivface.faces.ibug import MESH_POINTS
from vivface.warping.gaze import iris_places
from vivface.warping.jaw import CHIN
from vivface.warping.mesh import MESH, mirror
from vivface.warping.regions import part_weights


def planted(people: int = 60, frames: int = 12) -> tuple[Shapes, np.ndarray]:
    """People of other shapes whose smiles lift the mouth by 4 mm; a network that errs by 0.3 mm and with the pose."""
    rng = np.random.default_rng(0)
    move = np.zeros((MESH, 3))
    move[:, 1] = -4.0 * np.exp(-((np.linalg.norm(face()[:MESH] - face()[13], axis=1) / 25) ** 2))
    move = (move + move[mirror()] * [-1, 1, 1]) / 2 * part_weights()[:MESH, :1]
    controls = rng.uniform(0, 1, (people * frames, len(CONTROLS)))
    pose = rng.normal(0, 8, (people * frames, 3))
    person = np.repeat(np.arange(people), frames)
    shapes = face()[:MESH] + rng.normal(0, 2, (people, MESH, 3))[person]
    smiles = controls[:, [CONTROLS.index(name) for name in MOUTH["smile"]]].sum(1)
    shapes = shapes + smiles[:, None, None] / 2 * move + 0.02 * pose[:, :1, None] + rng.normal(0, 0.3, shapes.shape)
    irises = iris_places(face()) + rng.normal(0, 0.1, (len(person), 2, 2))
    landmarks = shapes[:, MESH_POINTS, :2] * 2 + 256  # pixels
    return Shapes(shapes, controls, pose, person, irises, landmarks), move


def test_a_movement_is_found_and_nothing_else():
    faces, move = planted()
    found = fit_controls(faces)
    assert set(found) == set(MOUTH) and all(value.shape == (MESH, 3) for value in found.values())
    smile = found["smile"].astype(float)
    assert np.corrcoef(smile[:, 1], move[:, 1])[0, 1] > 0.95
    assert 3.0 < -smile[:, 1].min() < 4.6 and np.abs(found["pucker"]).max() < 0.3
    assert np.allclose(smile[:, 1], smile[mirror(), 1], atol=0.05)


def test_errors_tell_how_sure_a_movement_is():
    faces, _ = planted(people=20)
    move, errors = movements(faces)
    assert move.shape == errors.shape == (len(CONTROLS), MESH * 3)
    still = move[CONTROLS.index("funnel")]
    assert np.abs(still).mean() < 2 * errors.mean() and (errors > 0).all()


def test_irises_of_open_eyes_that_look_ahead():
    faces, _ = planted()
    faces.controls[:, CONTROLS.index("blink_left")] = faces.controls[:, CONTROLS.index("blink_right")] = 0.0
    faces.controls[::2, [CONTROLS.index("gaze_x"), CONTROLS.index("gaze_y")]] = 0.0
    assert np.allclose(irises_ahead(faces), iris_places(face()), atol=0.1)


def test_a_jaw_goes_down_farther_than_the_mesh_shows():
    faces, _ = planted()
    faces.pose[:, :2] = 0.0  # the planted landmarks do not turn
    opened = faces.controls[:, CONTROLS.index("jaw_open")]
    faces.shapes[:, CHIN[-1], 1] += 8 * opened
    faces.landmarks[:, 8, 1] += 2 * 20 * opened
    faces.landmarks[:, [4, 12], 1] += 2 * 5 * opened[:, None]
    faces.landmarks[:, 66, 1] += 2 * 25 * opened
    found = jaw_drops(faces)
    assert abs(found["seen"] - 0.4) < 0.04 and abs(found["per_gap"] - 0.8) < 0.08
    assert np.allclose(found["line"], [0, 0, 0, 0, 0.25, 0, 0, 0, 1], atol=0.05)
