"""Training of the face state network: labels of crops, and a stage that learns, evaluates and resumes."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.training.people import STILL, options_of, write_controlled_people
from training.data.face_frames import MIRRORED, FaceBatches, FaceFrames, FaceLabels
from training.evaluation.face_measures import eyes_apart, landmark_error, lids, mouth, turn_between, turned_image
from training.stages.face_state import HEAT_SPREAD, correlation, heat_divergence, measure
from training.train import main
from vivface.errors import OptionError
from vivface.models import FaceStateNetwork
from vivface.models.face_state import CONTROLS

SIZE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four drawn people with all controls: how far mouth and lids are open is true, the others are 0."""
    return write_controlled_people(tmp_path_factory.mktemp("faces") / "people")


@pytest.fixture(scope="module")
def frames(folder: Path) -> FaceFrames:
    return FaceFrames([str(folder)], CONTROLS)


def batches(frames: FaceFrames, plain: bool = False, **changes) -> FaceBatches:
    return FaceBatches(frames, options_of("", size=SIZE, **changes), seed=0, plain=plain)


class TestLabels:
    def test_twice_mirrored_is_the_same(self):
        rng = np.random.default_rng(0)
        labels = FaceLabels(rng.normal(size=3), rng.normal(size=len(CONTROLS)), rng.random((68, 2)))
        once = labels.mirrored(CONTROLS)
        for name in ("pose", "controls", "landmarks"):
            assert np.allclose(getattr(once.mirrored(CONTROLS), name), getattr(labels, name))
            assert not np.allclose(getattr(once, name), getattr(labels, name))

    def test_the_mirror_swaps_sides(self):
        controls = np.zeros(len(CONTROLS))
        controls[CONTROLS.index("blink_left")], controls[CONTROLS.index("gaze_x")] = 1.0, 0.5
        points = np.zeros((68, 2))
        points[36] = (0.3, 0.4)  # outer corner of the right eye
        mirrored = FaceLabels(np.array([10.0, 5.0, 2.0]), controls, points).mirrored(CONTROLS)
        assert mirrored.pose.tolist() == [-10, 5, -2]
        assert mirrored.controls[CONTROLS.index("blink_right")] == 1 and mirrored.controls[-2] == -0.5
        assert mirrored.landmarks[45].tolist() == [0.7, 0.4]
        assert sorted(MIRRORED) == list(range(68))

    def test_a_turned_crop_turns_roll_alone_if_the_head_looks_ahead(self):
        assert turned_image(np.array([0.0, 0.0, 12.0]), np.radians(5)) == pytest.approx([0, 0, 7], abs=1e-5)

    def test_a_turned_crop_turns_the_head_by_as_much(self):
        pose = np.array([30.0, -10.0, 4.0])
        assert turn_between(turned_image(pose, np.radians(9)), pose) == pytest.approx(9, abs=1e-4)
        assert turned_image(turned_image(pose, 0.2), -0.2) == pytest.approx(pose, abs=1e-4)

    def test_shards_with_other_controls_are_refused(self, folder):
        with pytest.raises(OptionError, match="other controls"):
            FaceFrames([str(folder)], CONTROLS[::-1])

    def test_a_folder_without_shards_is_refused(self, tmp_path):
        with pytest.raises(OptionError, match="hold no shards"):
            FaceFrames([str(tmp_path)], CONTROLS)


class TestBatches:
    def test_landmarks_lie_where_the_image_shows_them(self, frames):
        """The eye is drawn between the lids: the middle of an open one has another colour than the skin above."""
        batch = batches(frames, batch=24, augment=STILL.model_copy(update={"driving_rotation": 20.0}))[0]
        seen = 0
        for image, points in zip(batch["image"], batch["landmarks"], strict=True):
            if lids(points.numpy()) < 0.2:
                continue
            for eye in (points[36:42], points[42:48]):
                x, y = (eye.mean(0) * SIZE - 0.5).round().int().tolist()
                brow = (eye.mean(0) * SIZE - 0.5 - torch.tensor([0.0, 7.0])).round().int().tolist()
                seen += 1
                assert (image[:, y, x] - image[:, brow[1], brow[0]]).abs().sum() > 0.1
        assert seen > 8

    def test_an_item_depends_on_seed_and_index_alone(self, folder, frames):
        a, b, other = batches(frames)[3], batches(FaceFrames([str(folder)], CONTROLS))[3], batches(frames)[4]
        assert all(torch.equal(a[name], b[name]) for name in a)
        assert not torch.equal(a["image"], other["image"])

    def test_shapes_and_ranges(self, frames):
        batch = batches(frames)[0]
        assert batch["image"].shape == (5, 3, SIZE, SIZE) and batch["landmarks"].shape == (5, 68, 2)
        assert batch["image"].min() >= -1 and batch["image"].max() <= 1
        assert batch["pose"].shape == (5, 3) and batch["controls"].shape == (5, len(CONTROLS))

    def test_plain_batches_show_every_frame_as_it_is(self, frames):
        batch = batches(frames, plain=True, batch=len(frames))[0]
        assert len(batch["image"].flatten(1).unique(dim=0)) == len(frames)
        assert (batch["controls"][:, -2:] == 0).all()
        middle = batch["landmarks"][:, 36:48].mean(1)
        assert (middle - torch.tensor([0.5, 0.45])).abs().max() < 0.1  # upright in the middle, as FFHQ's rule has it

    def test_spread(self, frames):
        mean, deviation = batches(frames).spread(500)
        assert mean.shape == deviation.shape == (3 + len(CONTROLS),)
        assert 0.2 < deviation[3 + CONTROLS.index("jaw_open")] < 0.4
        assert deviation[-1] == pytest.approx(0.01)  # of what does not vary


class TestMeasures:
    def test_perfect(self):
        rng = np.random.default_rng(0)
        truth = {
            "pose": rng.normal(0, 9, (20, 3)),
            "controls": rng.random((20, 4)),
            "landmarks": rng.random((20, 68, 2)),
        }
        values = measure(truth, truth, [2, 3])
        assert values["landmarks"] == values["yaw"] == 0 and values["turn"] < 1e-5
        assert all(values[name] == pytest.approx(1) for name in ("lids", "mouth", "brows", "gaze_x", "gaze_y"))

    def test_units(self):
        face = np.random.default_rng(1).random((68, 2))
        moved = face + 0.02 * eyes_apart(face) * np.array([0.6, 0.8])
        assert landmark_error(moved, face) == pytest.approx(2)
        assert lids(moved) == pytest.approx(lids(face)) and mouth(3 * face) == pytest.approx(mouth(face))

    def test_correlation(self):
        a = np.arange(5.0)
        assert correlation(a, 3 - 2 * a) == pytest.approx(-1) and correlation(a, np.ones(5)) == 0


class TestHeat:
    def gaussians(self, points: torch.Tensor) -> torch.Tensor:
        """Logits `(1, count, 16, 16)` of the Gaussians around points `(count, 2)`."""
        y, x = torch.meshgrid(*[torch.arange(16) + 0.5] * 2, indexing="ij")
        away = (x - 16 * points[:, 0, None, None]) ** 2 + (y - 16 * points[:, 1, None, None]) ** 2
        return -away[None] / (2 * HEAT_SPREAD**2)

    def test_gaussians_are_what_is_wanted(self):
        points = torch.tensor([[0.5, 0.3], [0.31, 0.77]])
        assert heat_divergence(self.gaussians(points) + 3.0, points[None]).abs().max() < 1e-5

    def test_of_a_shifted_gaussian(self):
        """Closed form: the squared distance over twice the variance."""
        points, moved = torch.tensor([[0.5, 0.5], [0.4, 0.6]]), torch.tensor([[0.625, 0.5], [0.4, 0.475]])
        divergence = heat_divergence(self.gaussians(moved), points[None])
        assert divergence[0].tolist() == pytest.approx([2.0 / HEAT_SPREAD**2] * 2, rel=1e-3)

    def test_landmarks_outside_do_not_count(self):
        points = torch.tensor([[[-0.1, 0.5], [0.5, 1.01], [0.5, 0.5]]])
        assert heat_divergence(torch.randn(1, 3, 8, 8), points)[0].bool().tolist() == [False, False, True]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps, and two more after a resume."""
    output = tmp_path_factory.mktemp("runs") / "run"
    threads = torch.get_num_threads()
    arguments = ["--preset", "tiny-face-state", "--output", str(output), f"--set=data.folders=[{folder}]"]
    arguments += [f"--set=options.held_out=[{folder}]"]
    main([*arguments, "--max-steps", "2"])
    main([*arguments, "--resume", "latest"])
    torch.set_num_threads(threads)
    return output


class TestStage:
    def test_logs_losses_and_the_evaluation(self, run: Path):
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert all(math.isfinite(value) for line in lines for value in line.values())
        assert {"pose", "controls", "gaze", "landmarks", "rough_landmarks", "heat", "openings"} <= lines[0].keys()
        wanted = ("landmarks", "turn", "yaw", "lids", "mouth", "gaze_x")
        assert {f"held_out/{name}" for name in wanted} <= lines[1].keys() & lines[3].keys()

    def test_saves_a_network_and_shows_samples(self, run: Path):
        network = FaceStateNetwork.from_pretrained(run / "checkpoint" / "face_state")
        assert network.config.image_size == 32 and network.deviation[3 + CONTROLS.index("jaw_open")] > 0.1
        assert cv2.imread(str(run / "samples" / "00000004.png")).std() > 0

    def test_a_few_steps_lower_the_loss(self, folder: Path, tmp_path: Path):
        threads = torch.get_num_threads()
        changes = [f"data.folders=[{folder}]", "loop.steps=60", "loop.log_every=20", "optimizers.main.lr=0.005"]
        changes += ["data.batch=8", "optimizers.main.decay=constant"]
        main(["--preset", "tiny-face-state", "--output", str(tmp_path), *(f"--set={c}" for c in changes)])
        torch.set_num_threads(threads)
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert lines[-1]["landmarks"] < 0.7 * lines[0]["landmarks"] and lines[-1]["openings"] < lines[0]["openings"]

    def test_another_size_is_refused(self, folder: Path):
        with pytest.raises(OptionError, match="data.size is 64"):
            main(["--preset", "tiny-face-state", "--dry-run", f"--set=data.folders=[{folder}]", "--set=data.size=64"])
