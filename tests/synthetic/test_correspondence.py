"""Correspondence between frames: warped sources look like the targets, and landmarks move as the flow says."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from training.synthetic.correspondence import BACKGROUND, EYES, GLASSES, HAIR, MOUTH, SKIN, SurfaceMaps
from training.synthetic.motion import controls_from, sample_motions
from training.synthetic.person import sample_person
from training.synthetic.renderer import Renderer
from training.synthetic.scene import sample_scene
from training.synthetic.subject import Subject
from training.synthetic.surfaces import SurfaceRenderer

SIZE, FRAMES = 192, 8
SEEDS = (900_117, 30, 46)  # short hair; bald, with glasses; long hair and glasses
REST, BLINK, OPEN, TURNED = range(4)  # the first frames; the others are sampled


@dataclass
class Clip:
    frames: np.ndarray
    landmarks: np.ndarray
    pose: np.ndarray
    maps: SurfaceMaps


@pytest.fixture(scope="module")
def make_clip(kit, opengl):
    renderer = Renderer(kit, SIZE)
    surfaces = SurfaceRenderer(renderer)

    def make(seed: int) -> Clip:
        """A person under light that comes from everywhere, so that turning the head changes no colour."""
        person = sample_person(kit, seed)
        dark, grey = np.zeros(3), np.full(3, 0.8)
        scene = replace(sample_scene(seed, person.tone), key=dark, fill=dark, rim=dark, sky=grey, ground=grey)
        subject = Subject(renderer, person, scene)
        controls, pose = sample_motions(7, FRAMES)
        controls[REST], controls[TURNED] = controls_from(), controls_from()
        controls[BLINK], controls[OPEN] = controls_from(blink=1.0), controls_from(jaw_open=0.8)
        pose[[REST, BLINK, OPEN]], pose[TURNED] = 0, (25, 8, -6)
        frames = np.stack(list(renderer.render(subject, controls, pose)))
        landmarks = subject.project(subject.head.landmarks_at(controls, pose), SIZE)
        return Clip(frames, landmarks, pose, surfaces.render(subject, controls, pose))

    return make


@pytest.fixture(scope="module", params=SEEDS)
def clip(request: pytest.FixtureRequest, make_clip) -> Clip:
    return make_clip(request.param)


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)


def squared_error(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> tuple[float, int]:
    return float(((a.astype(float) - b) ** 2)[where].sum()), int(where.sum()) * 3


def psnr(total: float, count: int) -> float:
    return 10 * np.log10(255**2 * count / total)


class TestFlow:
    def test_a_warped_source_shows_the_target_in_visible_skin(self, clip: Clip):
        moved, still = np.zeros(2), np.zeros(2)
        for source in range(FRAMES):
            for target in range(FRAMES):
                if source == target or np.abs(clip.pose[source] - clip.pose[target]).max() > 40:
                    continue
                truth = clip.maps.correspondence(source, target)
                where = truth.visible & (truth.parts == SKIN)
                moved += squared_error(warp(clip.frames[source], truth.flow), clip.frames[target], where)
                still += squared_error(clip.frames[source], clip.frames[target], where)
        assert psnr(*moved) >= 30
        assert psnr(*still) < 25

    def test_landmarks_move_as_it_says(self, clip: Clip):
        for source, target in ((REST, TURNED), (TURNED, REST), (OPEN, REST), (4, REST)):
            truth = clip.maps.correspondence(source, target)
            inner = clip.landmarks[target][17:]  # the jaw line lies at the outline
            x, y = np.clip(np.floor(inner), 0, SIZE - 1).astype(int).T
            found = inner + truth.flow[y, x]
            error = np.linalg.norm(found - clip.landmarks[source][17:], axis=1)
            seen = (truth.parts[y, x] == SKIN) & truth.visible[y, x]
            assert seen.sum() > 15
            assert np.median(error[seen]) < 0.3

    def test_a_frame_lies_where_it_is(self, clip: Clip):
        truth = clip.maps.correspondence(TURNED, TURNED)
        assert np.abs(truth.flow).mean() < 0.01
        assert np.abs(truth.flow).max() < 0.3  # thin triangles; the rasteriser snaps vertices to a grid
        assert truth.visible.all()

    def test_it_is_known_between_pixels_and_beyond_the_image(self, clip: Clip):
        whole = clip.maps.correspondence(REST, TURNED)
        x, y = np.meshgrid(np.arange(60, 130, 0.7), np.arange(40, 150, 0.7))
        part = clip.maps.correspondence(REST, TURNED, np.stack([x, y], -1))
        smooth = cv2.remap(whole.flow, np.float32(x) - 0.5, np.float32(y) - 0.5, cv2.INTER_LINEAR)
        error = np.linalg.norm(part.flow - smooth, axis=-1)[part.parts == SKIN]
        assert np.median(error) < 0.15  # of the nearest pixel, whose flow is a little another
        outside = clip.maps.correspondence(REST, TURNED, np.array([[[-20.0, 30.0]]]))
        assert outside.parts.item() == BACKGROUND and not outside.flow.any()

    def test_the_background_stays(self, clip: Clip):
        truth = clip.maps.correspondence(REST, TURNED)
        assert (truth.flow[truth.parts == BACKGROUND] == 0).all()
        uncovered = (truth.parts == BACKGROUND) & ~truth.visible
        assert 0.001 < uncovered.mean() < 0.2


class TestVisibility:
    def test_shut_eyes_show_no_eyes(self, clip: Clip):
        truth = clip.maps.correspondence(BLINK, REST)
        eyes = truth.parts == EYES
        assert eyes.sum() > 10
        assert truth.visible[eyes].mean() < 0.1
        assert clip.maps.correspondence(OPEN, REST).visible[eyes].mean() > 0.9

    def test_a_shut_mouth_shows_no_teeth(self, clip: Clip):
        truth = clip.maps.correspondence(REST, OPEN)
        mouth = truth.parts == MOUTH
        assert mouth.sum() > 10
        assert not truth.visible[mouth].any()

    def test_a_turned_head_hides_a_side(self, clip: Clip):
        truth = clip.maps.correspondence(TURNED, REST)
        skin = truth.parts == SKIN
        assert 0.5 < truth.visible[skin].mean() < 0.95
        there = clip.maps.correspondence(REST, REST)
        assert there.visible[skin].all()


class TestParts:
    def test_parts_are_where_landmarks_say(self, clip: Clip):
        parts = clip.maps.parts(OPEN)
        nose = clip.landmarks[OPEN][30].astype(int)
        assert parts[nose[1], nose[0]] in (SKIN, GLASSES)
        mouth = clip.landmarks[OPEN][60:68]
        x, y = np.nonzero(parts == MOUTH)[::-1]
        assert mouth[:, 0].min() - 2 < x.min() and x.max() < mouth[:, 0].max() + 2
        assert mouth[:, 1].min() - 2 < y.min() and y.max() < mouth[:, 1].max() + 2
        assert (parts[:8, :8] == BACKGROUND).all()

    def test_hair_and_glasses_belong_to_those_who_have_them(self, make_clip):
        bald, long = make_clip(30).maps.parts(REST), make_clip(46).maps.parts(REST)
        assert not (bald == HAIR).any() and (long == HAIR).mean() > 0.1
        assert (bald == GLASSES).sum() > 30 and (long == GLASSES).sum() > 30
