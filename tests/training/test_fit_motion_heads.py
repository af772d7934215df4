"""Motion heads that need no transformer: the solution, the files, and that they do what they are for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import make_tiny_pipeline
from tests.training.people import write_people
from training.data import GroupShards
from training.tools import fit_motion_heads
from vivface.editing import AttributeDirections, Direction
from vivface.errors import OptionError
from vivface.pipelines.hybrid import HYBRID_DIRECTIONS_FILE, HybridLatentPipeline
from vivface.pipelines.vivface import VivFacePipeline


def test_ridge_recovers_a_linear_map_and_its_constant():
    random = torch.Generator().manual_seed(0)
    features, matrix = torch.randn(200, 5, generator=random), torch.randn(5, 3, generator=random)
    with_one = torch.cat([features, torch.ones(200, 1)], 1)
    found = fit_motion_heads._ridge(with_one, features @ matrix + 7.0)
    torch.testing.assert_close(found[:5], matrix, atol=0.02, rtol=0.02)
    torch.testing.assert_close(found[5], torch.full((3,), 7.0), atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple:
    """A tiny checkpoint after the program, the people, and what it printed."""
    folder = tmp_path_factory.mktemp("heads")
    people = write_people(folder / "people", groups=4, people=4)
    pipeline = make_tiny_pipeline()
    step = torch.randn(10, 32, generator=torch.Generator().manual_seed(3))
    pipeline.directions = AttributeDirections([Direction("smile", "Smile", "motion", step, reach=1.5)])
    pipeline.save_pretrained(folder / "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        fit_motion_heads.main(
            [str(folder / "checkpoint"), "--folders", str(people), "--frames", "6", "--device", "cpu"]
        )
    return folder / "checkpoint", people, "\n".join(lines)


def images_of(pipeline: VivFacePipeline, people: Path) -> torch.Tensor:
    """A frame of everybody."""
    shards = GroupShards([people])
    crops = [np.ascontiguousarray(shards.image(record, 2)[16:80, 16:80]) for record in shards.records()]
    return pipeline.images(crops)


@torch.no_grad()
def test_new_heads_give_what_the_transformer_makes_of_the_old_codes(made):
    """For the mean over sources, on frames of the fit; the old codes themselves are far from it."""
    checkpoint, people, _ = made
    main, hybrid = VivFacePipeline.from_pretrained(checkpoint), HybridLatentPipeline.from_pretrained(checkpoint)
    images = images_of(main, people)
    code = main.encoder.eval()(images)
    wanted = torch.stack([main.transformer(code.motion, memory[None]) for memory in code.memory]).mean(0)
    new = hybrid.encoder.eval()(images).motion

    def error(motion: torch.Tensor) -> float:
        return float((motion - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean())

    assert error(new) < 0.5 < error(code.motion)


@torch.no_grad()
def test_directions_move_along(made):
    """The step in deformations is what the transformer makes of the step in generic codes."""
    checkpoint, people, _ = made
    main = VivFacePipeline.from_pretrained(checkpoint)
    (moved,) = AttributeDirections.load(checkpoint / HYBRID_DIRECTIONS_FILE).values()
    assert (moved.name, moved.space, moved.reach) == ("smile", "motion", 1.5)
    code = main.encoder.eval()(images_of(main, people))
    memory = code.memory.roll(1, 0)  # somebody else's
    vector = main.directions["smile"].vector
    step = (main.transformer(code.motion + vector, memory) - main.transformer(code.motion, memory)).mean(0)
    assert (step - moved.vector).norm() < 0.2 * step.norm()


def test_the_report_names_all_ways(made):
    words = made[2]
    for way in (
        "mean over sources: explains",
        "new heads: explains",
        "T: PSNR",
        "codes without T: PSNR",
        "no motion: PSNR",
    ):
        assert way in words


def test_too_few_people_are_refused(tmp_path):
    write_people(tmp_path, groups=1, people=2)
    with pytest.raises(OptionError, match="hold 2 people; expected at least 16"):
        fit_motion_heads.main([str(tmp_path), "--folders", str(tmp_path)])
