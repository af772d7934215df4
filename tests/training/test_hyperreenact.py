"""HyperReenact's stage: who drives whom in which phase, losses, crops by landmarks, estimators, runs and resumes."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import load_file

from tests.training.people import STILL, landmarks_of, options_of
from training.data import PairBatches, ShardClips
from training.data.shards import GroupShards
from training.data.triples import TrueTriples
from training.preset import PRESET_FOLDER, parse_options, read_preset
from training.stages import stage_class
from training.stages.encoder import OPENINGS
from training.stages.hyperreenact.estimators import EthXGaze, FaceStateEstimator
from training.stages.hyperreenact.faces import Faces, pose_map
from training.stages.hyperreenact.options import HyperReenactOptions
from training.stages.hyperreenact.stage import FIRST_MEASURED
from training.stages.hyperreenact.start import start_loss
from training.stages.hyperreenact.terms import Pairs
from training.train import main
from training.validation import Validation
from vivface.errors import BackendError, OptionError
from vivface.faces.voxceleb import ARCFACE_POINTS, voxceleb_quad
from vivface.models import FaceStateNetwork, PoseEncoder, ReenactmentHypernetwork

SIZE = 64


def make_stage(people, *changes: str):
    preset = read_preset("tiny-hyperreenact", [f"data.folders=[{people}]", *changes])
    torch.manual_seed(0)
    return stage_class(preset.stage)(preset, Accelerator(cpu=True))


@pytest.fixture(scope="module")
def stage(people):
    return make_stage(people, f"data.validation=[{people}]")


@pytest.fixture(scope="module")
def batch(stage):
    return stage.dataset()[0]


class TestTriples:
    def test_same_is_the_source_in_the_motion_of_other(self, people):
        """Faces are drawn by landmarks, which are the same for all people: other and same differ in colours alone."""
        still = STILL.model_copy(update={"degrade_source": 0.0, "degrade_driving": 0.0})
        options = options_of(people, identities=2, batch=4, crop="source", augment=still)
        triples = TrueTriples(options, seed=0)[0]
        assert triples["source"].shape == triples["same"].shape == triples["other"].shape == (4, 3, SIZE, SIZE)
        for source, same, other in zip(*(triples[n] for n in ("source", "same", "other")), strict=True):
            assert torch.equal(same[:, 0, 0], source[:, 0, 0])  # the background tells people apart
            edges = [(x.diff(dim=-1).abs().sum(0) > 0.1).float() for x in (same, other, source)]
            agree = [F.cosine_similarity(edges[0].flatten(), x.flatten(), dim=0) for x in edges[1:]]
            assert agree[0] >= agree[1]

    def test_batch_and_kind_are_checked(self, people):
        with pytest.raises(OptionError, match="data.batch is 5, expected a multiple"):
            TrueTriples(options_of(people, identities=2, batch=5), seed=0)
        with pytest.raises(OptionError, match="only renders have a ground truth"):
            TrueTriples(options_of(people, kind="images", identities=2, batch=4), seed=0)


class TestPairs:
    def test_inversion(self, stage, batch):
        pairs = stage.pairs(batch, "inversion")
        assert pairs.source is pairs.driver is pairs.goal and pairs.known.all() and not pairs.cross.any()

    def test_self(self, stage, batch):
        pairs = stage.pairs(batch, "self")
        assert torch.equal(pairs.source.image, batch["source"])
        assert torch.equal(pairs.driver.image, batch["same"]) and torch.equal(pairs.goal.image, batch["same"])

    @pytest.mark.parametrize(("share", "count"), [(0.5, 2), (0.25, 1), (1.0, 4)])
    def test_cross_drives_a_part_by_somebody_else(self, people, share, count):
        stage = make_stage(people, f"options.cross_share={share}", "options.truth=false", "data.crop=ffhq")
        batch = stage.dataset()[0]
        pairs = stage.pairs(batch, "cross")
        assert pairs.cross.sum() == count and torch.equal(pairs.known, ~pairs.cross)
        for k in range(4):
            expected = batch["other" if pairs.cross[k] else "same"][k]
            assert torch.equal(pairs.driver.image[k], expected)


class TestTerms:
    def pairs(self, batch, cross, known):
        faces = [Faces(batch[n]) for n in ("source", "same", "other")]
        cross, known = torch.tensor(cross), torch.tensor(known)
        return Pairs(faces[0], faces[2].where(cross, faces[1]), faces[1], cross, known)

    def test_the_goal_itself_costs_nothing(self, stage, batch):
        pairs = self.pairs(batch, [False] * 4, [True] * 4)
        terms = stage.terms(pairs, pairs.goal.image)
        assert terms.keys() == {"pixel", "features", "identity", "gaze", "shape"}
        assert all(float(value) < 0.01 for value in terms.values())

    def test_published_weights(self):
        options = parse_options(HyperReenactOptions, {}, "options")
        assert [getattr(options, n) for n in ("pixel", "features", "identity", "gaze", "shape")] == [10, 5, 10, 2, 0.5]

    def test_pixels_are_averaged_over_the_batch(self, stage, batch):
        """Eq. 2: 10 times L1, of the pairs that have a goal."""
        for known in ([True] * 4, [True, True, False, False]):
            pairs = self.pairs(batch, [False, False, True, True], known)
            terms = stage.terms(pairs, pairs.goal.image + 0.1)
            assert float(terms["pixel"]) == pytest.approx(sum(known) / 4, rel=1e-4)

    def test_regions_weigh_pixels(self, people, batch):
        """A weighted mean of the errors; maps are soft."""
        stage = make_stage(people, "options.regions={eyes: 4.0, mouth: 2.0}")
        pairs, maps = stage.pairs(batch, "self"), batch["same_regions"]
        assert maps.shape == (4, 4, SIZE, SIZE)
        torch.testing.assert_close(pairs.weight, 1 + 4 * maps[:, 1:2] + 2 * maps[:, 3:])
        eyes = maps[:, 1:2] > 0.5
        assert eyes.any() and pairs.weight[eyes].min() > 3
        terms = stage.terms(pairs, pairs.goal.image + 0.1 * eyes)
        expected = 10 * 0.1 * float(pairs.weight[eyes].sum() / pairs.weight.sum())
        assert float(terms["pixel"]) == pytest.approx(expected, rel=1e-4)

    def test_regions_need_truth(self, people):
        with pytest.raises(OptionError, match=r"options.regions need the landmarks of renders"):
            make_stage(people, "options.truth=false", "options.regions={eyes: 4.0}", "data.crop=ffhq")

    def test_without_a_goal_identity_and_shape_are_left(self, stage, batch):
        pairs = self.pairs(batch, [True] * 4, [False] * 4)
        terms = stage.terms(pairs, pairs.source.image)
        assert terms.keys() == {"identity", "gaze", "shape"} and float(terms["gaze"]) == 0
        assert float(terms["identity"]) == pytest.approx(0, abs=1e-5)  # looks like the source
        terms = stage.terms(pairs, pairs.driver.image)
        assert float(terms["shape"]) == pytest.approx(0, abs=1e-5) and float(terms["identity"]) > 1e-4

    def test_features_of_the_face_alone(self, people, batch):
        """One pass of the recognizer serves features and identity."""
        stage = make_stage(people, "options.perceptual=face-features")
        pairs = self.pairs(batch, [False] * 4, [True] * 4)
        recognizer = stage.networks["recognizer"]
        made, goal = (recognizer.crop(batch[name]) for name in ("source", "same"))
        cosine, features = recognizer.compare(made, goal)
        terms = stage.terms(pairs, batch["source"])
        assert float(terms["features"]) == pytest.approx(5 * float(features), rel=1e-4)
        assert float(terms["identity"]) == pytest.approx(10 * float(cosine), rel=1e-3, abs=1e-5)

    def test_phase_inversion_has_no_shape(self, people, batch):
        stage = make_stage(people, "options.phase=inversion")
        assert "shape" not in stage.terms(stage.pairs(batch, "inversion"), batch["same"])

    def test_gradients_reach_the_hypernetwork_alone(self, stage, batch):
        image = stage.drive(stage.networks, stage.pairs(batch, "cross"))
        image.square().mean().backward()
        for name, network in stage.networks.items():
            touched = any(p.grad is not None for p in network.parameters())
            assert touched == (name == "hypernetwork"), name
        stage.networks["hypernetwork"].zero_grad(set_to_none=True)

    def test_coarse_pairs_are_the_colour_skip_enlarged(self, stage, batch):
        pairs = stage.pairs(batch, "self")
        with torch.no_grad():
            whole = stage.drive(stage.networks, pairs)
            mixed = stage.drive(stage.networks, pairs, torch.tensor([2]))
        torch.testing.assert_close(mixed[2], whole[2], atol=1e-5, rtol=1e-4)
        soft = F.interpolate(F.interpolate(mixed, scale_factor=0.5, mode="area"), scale_factor=2, mode="bilinear")
        assert (mixed[0] - soft[0]).abs().mean() < (whole[0] - soft[0]).abs().mean()
        goal = stage.softened(pairs, torch.tensor([2])).goal.image
        assert torch.equal(goal[2], pairs.goal.image[2]) and not torch.equal(goal[0], pairs.goal.image[0])


@pytest.fixture(scope="module")
def face():
    points = landmarks_of(0.2, 0.1, 0.1, 128)
    image = torch.full((1, 3, 128, 128), -1.0)
    x, y = np.rint(points[42:48].mean(0)).astype(int)
    image[:, :, y - 1 : y + 2, x - 1 : x + 2] = 1.0
    return Faces(image, torch.from_numpy((points + 0.5) / 128)[None])


class TestStart:
    """The head start from a transformer."""

    TRANSFORMER = "networks.transformer={style_dim: 16, layers: 1, heads: 2, feed_forward: 32}"

    @pytest.fixture
    def start(self, people):
        generator = "networks.generator.motion_codes=4"
        return make_stage(people, "options.phase=start", "options.pairings=2", generator, self.TRANSFORMER)

    def test_is_zero_where_weights_change_as_styles_do(self, start, batch):
        """StyleGAN2, eq. 1: a style s + T modulates like s with weights (1 + T / s)."""
        networks, pairs = start.networks, start.pairs(batch, "start")
        generator, inversion = networks["generator"], networks["inversion"]

        class Perfect(torch.nn.Module):
            config = networks["hypernetwork"].config

            def forward(self, appearance, pose, styles):
                count = len(batch["source"])
                code = inversion(batch["source"], motion=False)
                motion = inversion(batch["other"], identity=False, memory=False).motion
                drivers = torch.cat([torch.arange(count), torch.arange(count).roll(1)])
                sources = torch.arange(count).repeat(2)
                moved = generator.add_motion(styles, networks["transformer"](motion[drivers], code.memory[sources]))
                offsets = []
                for name, style, other in zip(generator.layer_names, styles, moved, strict=True):
                    layer = generator.get_submodule(name)
                    change = ((other - style) / style)[:, None].expand(-1, layer.weight.shape[0], -1)
                    offsets.append(None if "rgb" in name else change)
                return offsets

        with torch.no_grad():
            loss, error = start_loss({**networks, "hypernetwork": Perfect()}, pairs, 1.0, 2)
            untrained, whole = start_loss(networks, pairs, 1.0, 2)
        assert float(loss) < 1e-6 and float(error) < 1e-6
        assert float(untrained) > 0.1 and float(whole) > 0.1

    def test_a_fresh_hypernetwork_is_fitted(self, start, batch):
        """In closed form; steps go on from there."""
        torch.manual_seed(0)
        config = {k: v for k, v in start.networks["hypernetwork"].config.items() if k[0] != "_"}
        pairs = start.pairs(batch, "start")
        with torch.no_grad():
            unfitted, fitted = (
                float(start_loss({**start.networks, "hypernetwork": network}, pairs, 1.0, 2)[0])
                for network in (ReenactmentHypernetwork(**config), start.networks["hypernetwork"])
            )
        assert fitted < 0.7 * unfitted
        first = float(start.step(batch)["loss"].detach())
        for _ in range(20):
            last = float(start.step(batch)["loss"].detach())
        assert last < first

    def test_its_map_starts_as_components(self, start):
        """Of the pose in some channels, of appearance in the others: uncorrelated, the first of variance 1."""
        network, data = start.networks["hypernetwork"], start.dataset()
        with torch.no_grad():
            drivers = [start.pairs(data[FIRST_MEASURED + k], "start").driver for k in range(24)]
            poses = torch.cat([network.project(pose_map(start.networks, driver))[:, :, 0, 0] for driver in drivers])
        covariance = torch.cov(poses.unique(dim=0).T)
        split = round(2 / 3 * network.config.channels)
        assert float(covariance[split:].abs().max()) < 1e-6
        assert float(covariance[0, 0]) == pytest.approx(1, rel=0.1)
        assert float((covariance - covariance.diag().diag()).abs().max()) < 0.05


class TestFaces:
    """Crops by landmarks, of a face whose left eye is marked."""

    def place(self, crop):
        weight = (crop[0, 0] + 1).clamp(min=0)
        rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in weight.shape), indexing="ij")
        return [float((weight * axis).sum() / weight.sum()) for axis in (columns, rows)]

    def test_identity_sees_the_five_points(self, face, stage):
        class Published:
            class config:
                image_size = 112

        assert np.abs(np.array(self.place(face.of_identity(Published))) - ARCFACE_POINTS[1]).max() < 6

    @pytest.mark.parametrize("kind", ["ffhq", "deca"])
    def test_squares_are_those_of_the_pipeline(self, face, kind):
        from vivface.faces.alignment import crop_quad
        from vivface.faces.crops import face_quad

        pixels = ((face.image[0].permute(1, 2, 0) + 1) * 127.5).byte().numpy()
        points = face.landmarks[0].numpy() * 128 - 0.5
        expected = crop_quad(pixels, face_quad(points, kind), 128).astype(np.float32) / 127.5 - 1
        wanted = self.place(torch.from_numpy(expected).permute(2, 0, 1)[None])
        assert self.place(face.square(kind, 128)) == pytest.approx(wanted, abs=0.7)

    def test_without_landmarks_images_are_squares_already(self, batch):
        faces = Faces(batch["same"])
        assert faces.square("ffhq", SIZE) is faces.image and faces.square("ffhq", 32).shape[-1] == 32


class TestVoxCelebCrop:
    def test_every_frame_has_its_own_square(self, people):
        options = options_of(people, crop="voxceleb", batch=3)
        clips = ShardClips(GroupShards([people]))
        batch = PairBatches(clips, options, seed=0, landmarks=True)[0]
        for name in ("source", "same", "other"):
            for points in batch[f"{name}_landmarks"].numpy():
                low, high = points.min(0), points.max(0)
                assert (high - low).max() == pytest.approx(0.5, abs=0.07)  # the square is twice the face's extent
                quad = voxceleb_quad(points * 1024) / 1024
                assert quad == pytest.approx(np.array([[0, 0], [0, 1], [1, 1], [1, 0]]), abs=0.1)

    def test_a_pose_encoder_needs_landmarks(self, people):
        with pytest.raises(OptionError, match="networks.pose needs landmarks"):
            make_stage(people, "networks.pose={image_size: 96, width: 1, units: [1, 1, 1, 1]}")

    def test_trains_with_a_pose_encoder(self, people):
        changes = ["data.crop=voxceleb", "options.truth=false", "options.coarse_size=0"]
        changes += ["networks.pose={image_size: 96, width: 1, units: [1, 1, 1, 1]}"]
        changes += ["networks.hypernetwork.pose_channels=32"]
        stage = make_stage(people, *changes)
        batch = stage.dataset()[0]
        assert batch["other_landmarks"].shape == (4, 68, 2)
        scalars = stage.step(batch)
        assert all(math.isfinite(float(value.detach())) for value in scalars.values())


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return FaceStateNetwork(32, (4, 4, 8, 8, 8), (1, 1, 1, 1), 8).eval().requires_grad_(False)


class TestEstimators:
    def test_form_counts_between_frames_of_one_person_only(self, network, batch):
        estimator = FaceStateEstimator(network)
        made, wanted = Faces(batch["same"]), Faces(batch["other"])
        near, far = (estimator.shape(made, wanted, torch.tensor([flag] * 4)) for flag in (False, True))
        found, expected = (network(x.square("ffhq", 32)) for x in (made, wanted))
        form = (found.landmarks - expected.landmarks).abs().mean((1, 2)) / 0.05
        gaps = [torch.stack([x.landmarks[:, a] - x.landmarks[:, b] for a, b in OPENINGS], 1) for x in (found, expected)]
        torch.testing.assert_close(far - near, form + (gaps[0] - gaps[1]).abs().mean((1, 2)) / 0.02)

    def test_gaze_is_in_units_of_twenty_degrees(self, network, batch):
        estimator = FaceStateEstimator(network)
        made, wanted = Faces(batch["same"].clone().requires_grad_()), Faces(batch["other"])
        found = estimator.gaze(made, wanted)
        degrees = (network(made.square("ffhq", 32)).gaze - network(wanted.square("ffhq", 32)).gaze).norm(dim=1)
        torch.testing.assert_close(found, degrees / 20, atol=2e-3, rtol=1e-3)
        found.sum().backward()
        assert made.image.grad.abs().sum() > 0

    @pytest.mark.slow
    def test_eth_xgaze_is_read(self, tmp_path, batch):
        torch.manual_seed(1)
        trunk, linear = PoseEncoder(), torch.nn.Linear(2048, 2)
        entries = {f"gaze_network.{name}": value for name, value in trunk.state_dict().items()}
        entries |= {f"gaze_fc.0.{name}": value for name, value in linear.state_dict().items()}
        torch.save({"model_state": entries}, tmp_path / "epoch_24_ckpt.pth.tar")
        gaze = EthXGaze(str(tmp_path / "epoch_24_ckpt.pth.tar"))
        made = Faces(batch["same"][:1].clone().requires_grad_())
        gaze(made, Faces(batch["other"][:1])).sum().backward()
        assert made.image.grad.abs().sum() > 0

    def test_a_missing_file_is_named(self, people, tmp_path):
        vox = ["data.crop=voxceleb", "options.truth=false"]
        with pytest.raises(BackendError, match="which is no file: give ETH-XGaze's"):
            make_stage(people, *vox, f"options.gaze_estimator={tmp_path}/none.tar")
        with pytest.raises(BackendError, match="deca_model.tar"):
            make_stage(people, *vox, f"options.shape_estimator={tmp_path}")

    def test_they_need_landmarks(self, people, tmp_path):
        with pytest.raises(OptionError, match="need landmarks, expected data.crop 'voxceleb'"):
            make_stage(people, f"options.shape_estimator={tmp_path}")


class TestValidation:
    def test_scores_of_all_phases(self, people):
        changes = [f"data.validation=[{people}]", "loop.validate_every=1", "loop.validation_batches=1"]
        scores = Validation(make_stage(people, *changes)).run()
        for name in ("plain", "inversion", "self", "cross"):
            assert {f"validation/{measure}/{name}" for measure in ("l1", "psnr", "likeness")} <= scores.keys()
        assert {"validation/nearer/cross", "validation/yaw_correlation/cross"} <= scores.keys()
        assert all(math.isfinite(value) for value in scores.values())

    def test_real_videos_have_no_truth(self, people):
        changes = ["options.truth=false", "data.crop=ffhq", "data.held_out=0.34", "loop.validate_every=1"]
        scores = Validation(make_stage(people, *changes, "loop.validation_batches=1")).run()
        assert "validation/likeness/cross" in scores and "validation/l1/cross" not in scores

    def test_needs_other_people(self, people):
        with pytest.raises(OptionError, match="data.validation is empty"):
            Validation(make_stage(people, "loop.validate_every=1"))


class TestRuns:
    def run(self, people, folder, *arguments: str):
        threads = torch.get_num_threads()
        main(["--preset", "tiny-hyperreenact", f"--set=data.folders=[{people}]", "--output", str(folder),
              "--log-with", "none", *arguments])  # fmt: skip
        torch.set_num_threads(threads)

    def test_resumes_where_it_stopped(self, people, tmp_path):
        self.run(people, tmp_path / "whole")
        self.run(people, tmp_path / "parts", "--max-steps", "2")
        self.run(people, tmp_path / "parts", "--resume", "latest")
        weights = [
            load_file(tmp_path / name / "checkpoint" / "hypernetwork" / "diffusion_pytorch_model.safetensors")
            for name in ("whole", "parts")
        ]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [1, 2, 3, 4]
        assert {"pixel", "features", "identity", "gaze", "shape"} <= lines[0].keys()
        assert cv2.imread(str(tmp_path / "parts" / "samples" / "00000004.png")).std() > 0

    def test_phases_continue_one_another(self, people, tmp_path):
        self.run(people, tmp_path / "1", "--set=options.phase=inversion", "--max-steps=1")
        start = f"--set=networks.hypernetwork={{pretrained: {tmp_path}/1/checkpoint, subfolder: hypernetwork}}"
        self.run(people, tmp_path / "2", "--set=options.phase=self", "--max-steps=1", start)
        assert ReenactmentHypernetwork.from_pretrained(tmp_path / "2" / "checkpoint" / "hypernetwork").config.side == 3

    def test_a_few_steps_lower_the_loss(self, people, tmp_path):
        changes = ["loop.steps=40", "loop.log_every=10", "optimizers.main.lr=0.003", "options.phase=self"]
        self.run(people, tmp_path, *(f"--set={change}" for change in changes))
        lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert lines[-1]["pixel"] < 0.9 * lines[0]["pixel"]

    def test_dry_run(self, people, capsys):
        main(["--preset", "tiny-hyperreenact", f"--set=data.folders=[{people}]", "--dry-run"])
        assert "hypernetwork" in capsys.readouterr().out


class TestPresets:
    @pytest.mark.parametrize("name", sorted(path.stem for path in PRESET_FOLDER.glob("hyperreenact-*.yaml")))
    def test_say_what_the_stage_takes(self, name):
        preset = read_preset(name, [])
        options = parse_options(HyperReenactOptions, preset.options, "options")
        assert options.phase == {"0": "start", "1": "inversion", "2": "self", "3": "cross"}[name[-1]]
        if "voxceleb" in name:
            assert preset.data.batch == 16 and preset.optimizers["main"].lr == (1e-4 if name[-1] == "3" else 2e-4)
