"""A StyleGAN3 of known people, and the encoder to its W+: batches, codes, two stages that learn and resume."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.training.people import STILL, options_of, write_controlled_people
from training.data.face_frames import FaceFrames
from training.data.moved_faces import MovedFaceBatches, transform_between
from training.data.quads import adjust_quad
from training.stages.stylegan3.codes import EXPRESSION_ROWS, POSE_ROWS, MotionRows
from training.stages.stylegan3.generator import picture_codes
from training.tools.export_stylegan3 import main as export
from training.train import main
from vivface import CheckpointError, load_pipeline
from vivface.faces.alignment import make_quad
from vivface.models import HybridEncoder
from vivface.models.face_state import CONTROLS
from vivface.models.stylegan3 import StyleGAN3Generator, image_transform

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn people with all controls."""
    return write_controlled_people(tmp_path_factory.mktemp("faces") / "people")


@pytest.fixture(scope="module")
def frames(folder: Path) -> FaceFrames:
    return FaceFrames([str(folder)], CONTROLS)


class TestBatches:
    def test_the_transformation_is_that_of_the_generator(self):
        """A crop turned and moved against the canonical one shows the face turned and moved the other way."""
        canonical = make_quad(np.array([60.0, 50.0]), 20.0, 0.2)
        seen = adjust_quad(canonical, (0.1, -0.05), degrees=15)
        angle = math.radians(15)  # the crop is turned clockwise, the face in it counterclockwise
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        shift = turn @ np.array([-0.1, 0.05])
        expected = image_transform(angle, tuple(shift.tolist()))[0]
        assert transform_between(seen, canonical) == pytest.approx(expected.numpy(), abs=1e-6)

    def test_shapes_and_looks(self, frames):
        assert [len(look) for look in frames.looks] == [6] * 4
        batch = MovedFaceBatches(frames, options_of("", size=SIZE), seed=0, photographs=True)[0]
        assert batch["image"].shape == batch["photograph"].shape == (3, 2, 3, SIZE, SIZE)
        assert batch["transform"].shape == (3, 2, 3, 3) and batch["look"].shape == (3,)
        assert batch["image"].min() >= -1 and batch["image"].max() <= 1

    def test_an_item_depends_on_seed_and_index_alone(self, folder, frames):
        options = options_of("", size=SIZE)
        a, b = (MovedFaceBatches(f, options, seed=1)[3] for f in (frames, FaceFrames([str(folder)], CONTROLS)))
        assert all(torch.equal(a[name], b[name]) for name in a)

    def test_without_augmentation_a_crop_is_canonical(self, frames):
        batch = MovedFaceBatches(frames, options_of("", size=SIZE, augment=STILL), seed=0, photographs=True)[0]
        torch.testing.assert_close(batch["transform"], torch.eye(3).expand(3, 2, 3, 3), atol=1e-6, rtol=0)


class TestCodes:
    @pytest.fixture
    def rows(self) -> MotionRows:
        torch.manual_seed(0)
        return MotionRows(len(CONTROLS), 16, 48)

    def test_pose_and_expression_have_rows_of_their_own(self, rows):
        pose = rows(torch.ones(1, 3), torch.zeros(1, len(CONTROLS)))[0].abs().sum(1) > 0
        expression = rows(torch.zeros(1, 3), torch.ones(1, len(CONTROLS)))[0].abs().sum(1) > 0
        assert pose.nonzero().flatten().tolist() == list(POSE_ROWS)
        assert expression.nonzero().flatten().tolist() == list(EXPRESSION_ROWS)

    def test_labels_are_read_off_their_codes_whatever_the_look(self, rows):
        random = torch.Generator().manual_seed(0)
        pose, controls = torch.randn(5, 3, generator=random), torch.randn(5, len(CONTROLS), generator=random)
        codes = rows(pose, controls) + torch.randn(5, 1, 48, generator=random)
        torch.testing.assert_close(rows.decode(codes), torch.cat([pose, controls], 1), atol=2e-2, rtol=2e-2)

    def test_similar_looks_get_similar_codes(self, frames):
        codes = picture_codes(frames, 16)
        assert codes.shape == (4, 16) and codes.isfinite().all() and codes.std() > 0


@pytest.fixture(scope="module")
def runs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages: two steps, and two more after a resume."""
    output = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    for name in ("tiny-stylegan3", "tiny-stylegan3-inversion"):
        arguments = ["--preset", name, "--output", str(output / name), f"--set=data.folders=[{folder}]"]
        if name.endswith("inversion"):
            first = output / "tiny-stylegan3" / "checkpoint"
            arguments += [f"--set=networks.{n}.pretrained={first}" for n in ("generator", "looks", "motion_rows")]
        main([*arguments, "--max-steps", "2"])
        main([*arguments, "--resume", "latest"])
    torch.set_num_threads(threads)
    return output


class TestStages:
    @pytest.mark.parametrize(
        ("name", "terms"),
        [
            ("tiny-stylegan3", {"picture", "motion", "look_norm", "psnr", "motion_share"}),
            ("tiny-stylegan3-inversion", {"codes", "labels", "visible"}),
        ],
    )
    def test_logs_and_samples(self, runs, name, terms):
        lines = [json.loads(line) for line in (runs / name / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert all(math.isfinite(value) for line in lines for value in line.values()) and terms <= lines[0].keys()
        assert cv2.imread(str(runs / name / "samples" / "00000004.png")).std() > 0
        if name.endswith("inversion"):
            assert "picture" in lines[-1] and "picture" not in lines[0]

    def test_what_is_saved_works_together(self, runs):
        first, second = (runs / name / "checkpoint" for name in ("tiny-stylegan3", "tiny-stylegan3-inversion"))
        generator = StyleGAN3Generator.from_pretrained(first / "generator")
        inversion = HybridEncoder.from_pretrained(second / "inversion")
        codes = inversion(torch.zeros(1, 3, SIZE, SIZE), motion=False, memory=False).identity
        assert generator(codes).shape == (1, 3, SIZE, SIZE)
        assert 0 < float(generator.layers[3].magnitude) != 1

    def test_a_few_steps_lower_the_error(self, folder, tmp_path):
        threads = torch.get_num_threads()
        changes = [f"data.folders=[{folder}]", "loop.steps=40", "loop.log_every=10", "options.oversampling_from=0.9"]
        changes += ["data.augment.driving_rotation=0.0", "data.augment.driving_center=0.0", "data.identities=4"]
        main(["--preset", "tiny-stylegan3", "--output", str(tmp_path), *(f"--set={c}" for c in changes)])
        torch.set_num_threads(threads)
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert lines[-1]["picture"] < 0.85 * lines[0]["picture"]


class TestExport:
    def test_a_checkpoint_that_reenacts(self, runs, folder, tmp_path, capsys):
        generator, inversion = runs / "tiny-stylegan3", runs / "tiny-stylegan3-inversion"
        arguments = ["--generator", generator, "--inversion", inversion, "--folders", folder, "--frames", 4]
        arguments += ["--test", folder]
        export([str(tmp_path / "made"), *map(str, arguments)])
        assert "MB" in capsys.readouterr().out
        pipe = load_pipeline(tmp_path / "made")
        assert type(pipe).__name__ == "Video2StyleGANPipeline" and not (tmp_path / "made" / "pose").exists()
        rows = MotionRows.from_pretrained(generator / "checkpoint" / "motion_rows")
        degree = rows(torch.tensor([[1.0, 0, 0]]), torch.zeros(1, len(CONTROLS))) - rows(
            torch.zeros(1, 3), torch.zeros(1, len(CONTROLS))
        )
        made = pipe.pose_directions.estimate(torch.zeros_like(degree), torch.tensor([[1.0, 0, 0]]))
        torch.testing.assert_close(made, degree, atol=1e-3, rtol=1e-2)
        record = json.loads((tmp_path / "made" / "training.json").read_text())
        assert [stage["stage"] for stage in record["stages"]] == ["stylegan3", "stylegan3_inversion"]
        card = (tmp_path / "made" / "README.md").read_text(encoding="utf-8")
        assert 'Video2StyleGANPipeline.from_pretrained("made")' in card and "| psnr |" in card

    def test_a_run_that_is_none(self, runs, folder, tmp_path):
        arguments = ["--generator", tmp_path, "--inversion", runs, "--folders", folder, "--test", folder]
        with pytest.raises(CheckpointError, match="holds no checkpoint/generator"):
            export([str(tmp_path / "made"), *map(str, arguments)])
        assert not (tmp_path / "made").exists()
