"""The renderer: the same people as ever, and several of them at once."""

import gc

import cv2
import numpy as np
import pytest

from training.synthetic.motion import sample_motions
from training.synthetic.person import sample_person
from training.synthetic.renderer import Renderer
from training.synthetic.scene import sample_scene
from training.synthetic.subject import Subject

SEEDS = (900_117, 30)  # a woman with long hair, a bald man with glasses
MOTION_SEED, FRAMES, SIZE = 5, 4, 160
# Mean brightness of 6 x 6 squares of frame 1, and x, y of the landmarks of chin, nose tip, eye and lower lip. Training
# data were rendered like this: a seed has to stay the same person, and a motion the same motion.
SQUARES = {
    900_117: [
        [49, 48, 115, 172, 125, 89], [79, 67, 79, 56, 54, 44], [112, 97, 107, 57, 106, 50],
        [85, 91, 97, 64, 167, 85], [59, 61, 109, 69, 127, 57], [69, 75, 120, 66, 46, 48],
    ],
    30: [
        [150, 150, 150, 150, 150, 150], [150, 145, 121, 135, 150, 150], [150, 133, 103, 105, 149, 150],
        [123, 96, 88, 91, 132, 139], [82, 98, 70, 65, 100, 82], [170, 206, 144, 127, 205, 171],
    ],
}  # fmt: skip
LANDMARKS = {
    900_117: [[77.7, 128.3], [70.7, 96.2], [53.6, 83.7], [74.9, 115.1]],
    30: [[79.1, 128.6], [71.4, 98.7], [53.4, 83.3], [75.3, 115.1]],
}


@pytest.fixture(scope="module")
def renderer(kit, opengl) -> Renderer:
    return Renderer(kit, SIZE)


@pytest.fixture(scope="module")
def subjects(renderer: Renderer) -> dict[int, Subject]:
    people = {seed: sample_person(renderer.kit, seed) for seed in SEEDS}
    return {seed: Subject(renderer, person, sample_scene(seed, person.tone)) for seed, person in people.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_stays_the_person_that_it_was(seed: int, renderer: Renderer, subjects: dict[int, Subject]):
    controls, pose = sample_motions(MOTION_SEED, FRAMES)
    frame = list(renderer.render(subjects[seed], controls, pose))[1]
    squares = cv2.resize(frame, (6, 6), interpolation=cv2.INTER_AREA).mean(-1)
    np.testing.assert_allclose(squares, SQUARES[seed], atol=1.5)
    landmarks = subjects[seed].project(subjects[seed].head.landmarks_at(controls, pose), SIZE)[1]
    np.testing.assert_allclose(landmarks[[8, 30, 36, 57]], LANDMARKS[seed], atol=0.1)


def test_people_who_take_turns_keep_their_light_and_background(renderer: Renderer, subjects: dict[int, Subject]):
    motion = sample_motions(MOTION_SEED, FRAMES)
    alone = [np.stack(list(renderer.render(subject, *motion))) for subject in subjects.values()]
    turns = list(zip(*(renderer.render(subject, *motion) for subject in subjects.values()), strict=True))
    for index in range(len(SEEDS)):
        np.testing.assert_array_equal(alone[index], np.stack([turn[index] for turn in turns]))


def test_renderers_of_one_process_keep_apart(kit, renderer: Renderer, subjects: dict[int, Subject]):
    """Each has an OpenGL context of its own, whose numbers of textures and programs the others have, too."""
    motion = sample_motions(MOTION_SEED, FRAMES)
    alone = {seed: list(renderer.render(subject, *motion)) for seed, subject in subjects.items()}
    other = Renderer(kit, 2 * SIZE)
    person = sample_person(kit, 900_164)
    guest = Subject(other, person, sample_scene(7, person.tone))
    first = list(other.render(guest, *motion))
    for seed, subject in subjects.items():
        drawn = zip(renderer.render(subject, *motion), other.render(guest, *motion), strict=True)
        for index, (frame, others) in enumerate(drawn):
            np.testing.assert_array_equal(frame, alone[seed][index])
            np.testing.assert_array_equal(others, first[index])
    guest.release()
    del guest, other
    gc.collect()
    for seed, subject in subjects.items():
        np.testing.assert_array_equal(list(renderer.render(subject, *motion)), alone[seed])
