"""A portrait in other poses: the same face where its landmarks say, and a tuning that learns from it."""

import numpy as np
import pytest
import torch

from vivface.faces.backends import get_backend
from vivface.pipelines import load_pipeline
from vivface.reenactment.adjustment import adjust
from vivface.reenactment.portrait_tuning import CODE_STEPS, SeenView
from vivface.reenactment.portrait_views import FACE, HEAD, VIEWS, portrait_views
from vivface.reenactment.tuning import Tuning
from vivface.warping.controls import CONTROLS

SIZE, STEPS = 256, 60


@pytest.fixture(scope="module")
def identity(tiny_pipeline, portrait):
    return tiny_pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def views(tiny_pipeline, identity):
    return portrait_views(identity, tiny_pipeline.crops, SIZE, 4, seed=2)


def test_the_face_lies_where_the_landmarks_say(views):
    backend = get_backend("mesh")
    for view in views:
        found = backend.detect(view.image, effort="high")[0].landmarks
        width = np.ptp(found[:, 0])
        assert np.linalg.norm(found - view.landmarks, axis=1).mean() < 0.06 * width


def test_views_differ_and_a_seed_gives_them_again(tiny_pipeline, identity, views):
    again = portrait_views(identity, tiny_pipeline.crops, SIZE, 4, seed=2)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(views, again, strict=True))
    crops = [view.crop("ffhq", 64).astype(int) for view in views]
    assert all(crop.shape == (64, 64, 3) for crop in crops)
    assert min(np.abs(a - b).mean() for k, a in enumerate(crops) for b in crops[:k]) > 2


def test_ranges_are_within_those_of_the_controls():
    ranges = {name: (-end, end) for name, end in HEAD.items()} | FACE
    assert all(CONTROLS[name].low <= low < high <= CONTROLS[name].high for name, (low, high) in ranges.items())


def test_a_generator_tuned_to_views_shows_other_views_better(tiny_pipeline, identity, portrait):
    """Views that it has not seen, under the motion codes that are read of them."""

    def seen(seed: int, count: int) -> list[SeenView]:
        found = []
        for view in portrait_views(identity, tiny_pipeline.crops, SIZE, count, seed):
            image = tiny_pipeline.images([view.crop("ffhq", identity.reference.shape[-1])])
            motion = tiny_pipeline.encode_crops([view.crop(tiny_pipeline.motion_crop, tiny_pipeline.motion_size)])
            found.append(SeenView(image, motion))
        return found

    others, image = seen(7, 6), identity.reference

    def error(views) -> float:
        networks = tiny_pipeline.tuning_networks(identity)
        tuned = adjust(networks, identity, image, Tuning("portrait", STEPS), views=views)
        with torch.no_grad():
            return float(np.mean([(tiny_pipeline.generate(tuned, m) - i).abs().mean() for i, m in others]))

    assert error(seen(0, 8)) < 0.95 * error(())


@pytest.mark.parametrize("wanted", [True, False])
def test_a_pipeline_that_tunes_to_views_makes_them(tiny_pipeline, identity, portrait, monkeypatch, wanted):
    made = []

    def counted(networks, identity, image, tuning, views, **options):
        made.append(len(views))
        return identity

    monkeypatch.setattr("vivface.pipelines.tunable.adjust", counted)
    monkeypatch.setattr(type(tiny_pipeline), "TUNES_TO_VIEWS", wanted)
    tiny_pipeline.encode_identity(portrait, adapt=CODE_STEPS + 1)
    tiny_pipeline.encode_identity(portrait, adapt=CODE_STEPS)  # moves the code alone
    tiny_pipeline.encode_identity(portrait, adapt="pti:5")
    assert made == [VIEWS if wanted else 0, 0, 0]


@pytest.mark.parametrize(("name", "steps"), [("vivface", 200), ("hybrid", 200), ("hyperreenact", 400)])
def test_bundled_systems_tune_to_views(portrait, name, steps):
    system = load_pipeline(system=name)
    assert system.TUNES_TO_VIEWS and system.config.adapt_steps == steps
    plain = system.encode_identity(portrait, adapt=0)
    tuned = system.encode_identity(portrait, adapt=CODE_STEPS + 5)
    assert tuned.generator is not None and plain.generator is None
    assert np.isfinite(system.generate(tuned, tuned.motion).numpy()).all()
