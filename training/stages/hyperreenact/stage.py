"""The HyperReenact stage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.arguments import AugmentOptions
from training.data import PairBatches, open_clips, region_weights
from training.data.triples import TrueTriples
from training.networks import take
from training.perceptual import build_perceptual
from training.scores import held_out_pairs, image_scores
from training.stages.base import Stage, tile
from training.stages.face_state import correlation
from training.stages.hyperreenact.estimators import DecaShape, EthXGaze, FaceStateEstimator
from training.stages.hyperreenact.faces import Faces, appearance_map, code_and_pose, source_code
from training.stages.hyperreenact.options import HyperReenactOptions
from training.stages.hyperreenact.start import fit_start, start_loss
from training.stages.hyperreenact.terms import Pairs, Terms
from vivface.errors import OptionError
from vivface.models import (
    DeformationTransformer,
    FaceStateNetwork,
    HybridEncoder,
    IdentityNetwork,
    PoseEncoder,
    ReenactmentHypernetwork,
    StyleGAN2Generator,
)

FACE_STATE = "face-state"
FIRST_MEASURED = 1_000_000_000  # index of the first batch that a fresh hypernetwork is fitted to


class HyperReenactStage(Stage):
    """Train `hypernetwork`; optimiser `main`."""

    options_class = HyperReenactOptions

    def build(self) -> None:
        """Add the frozen networks and the hypernetwork.

        Raises:
            OptionError: If options, networks and data do not fit together.
            BackendError: If an estimator's file is missing.
        """
        options = self.options
        self.landmarks = self.preset.data.crop == "voxceleb"
        for name, kind in self._frozen_kinds().items():
            self.add_network(name, self.make(kind, name), trained=False)
        self.check_data_size(self.networks["inversion"].config.image_size, "inversion")
        hypernetwork = self.make(ReenactmentHypernetwork, "hypernetwork").to(self.device)
        if options.phase == "start" and not self.is_pretrained("hypernetwork"):
            data = self.dataset()
            batches = (self.pairs(self._moved(data[FIRST_MEASURED + k]), "start") for k in range(options.fit_batches))
            fit_start({**self.networks, "hypernetwork": hypernetwork}, batches, options.truncation, options.pairings)
        self.add_network("hypernetwork", hypernetwork, average=True)
        self.add_optimizer("main", "hypernetwork")
        recognizer = self.networks["recognizer"]
        kind = "lpips-alex" if options.perceptual == "lpips-alex" else "recognizer-features"
        self.perceptual = build_perceptual(kind, recognizer).to(self.device)
        judge = None if options.perceptual == "face-features" else self.perceptual
        self.terms = Terms(options, recognizer, judge, *self._estimators())
        self.last: Pairs | None = None

    def _frozen_kinds(self) -> dict[str, type[nn.Module]]:
        """Which networks the phase needs besides the hypernetwork and the estimators."""
        if self.options.truth and self.landmarks:
            raise OptionError("options.truth is true with data.crop 'voxceleb', expected 'stable' or 'source'")
        if self.options.regions and not self.options.truth:
            raise OptionError("options.regions need the landmarks of renders, expected options.truth: true")
        kinds = {"generator": StyleGAN2Generator, "inversion": HybridEncoder}
        kinds |= {"appearance": IdentityNetwork, "recognizer": IdentityNetwork}
        if "pose" in self.preset.networks:
            if not self.landmarks:
                raise OptionError("networks.pose needs landmarks, expected data.crop 'voxceleb' (or no networks.pose)")
            kinds["pose"] = PoseEncoder
        if self.options.phase == "start":
            if "pose" in kinds:
                raise OptionError("options.phase is 'start' with networks.pose, expected the inversion's motion codes")
            kinds["transformer"] = DeformationTransformer
        return kinds

    def _moved(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _estimators(self) -> tuple:
        """The losses of shape and gaze. The face state network is always there: the validation reads poses with it."""
        options = self.options
        network = FaceStateNetwork.from_pretrained()
        if "face_state" in self.preset.networks:
            network = self.make(FaceStateNetwork, "face_state")
        self.face_state = FaceStateEstimator(self.add_network("face_state", network, trained=False))
        shape, gaze = self.face_state.shape, self.face_state.gaze
        if (options.shape_estimator, options.gaze_estimator) != (FACE_STATE, FACE_STATE) and not self.landmarks:
            raise OptionError(
                "options.shape_estimator and gaze_estimator need landmarks, expected data.crop 'voxceleb'"
            )
        if options.shape_estimator != FACE_STATE:
            shape = DecaShape(options.shape_estimator).to(self.device)
        if options.gaze_estimator != FACE_STATE:
            gaze = EthXGaze(options.gaze_estimator).to(self.device)
        return shape, gaze

    # Data ------------------------------------------------------------------------------------------------------------

    def dataset(self) -> PairBatches | TrueTriples:
        """Triples `source`, `same` and `other`; opened once."""
        if not hasattr(self, "_dataset"):
            data, seed = self.preset.data, self.preset.loop.seed
            if self.options.truth:
                self._dataset = TrueTriples(data, seed)
            else:
                self._dataset = PairBatches(open_clips(data, seed=seed), data, seed, landmarks=self.landmarks)
        return self._dataset

    def validation_dataset(self) -> PairBatches | TrueTriples:
        """Triples of people that are not trained on, not augmented."""
        if not self.options.truth:
            return held_out_pairs(self.preset, landmarks=self.landmarks)
        data = self.preset.data
        if not data.validation:
            raise OptionError("data.validation is empty, expected folders of other people (with options.truth)")
        still = AugmentOptions(
            appearance=0.0, degrade_source=0.0, degrade_driving=0.0, source_jitter=0.0, driving_center=0.0,
            driving_scale=0.0, driving_rotation=0.0, drift_center=0.0, drift_scale=0.0, drift_rotation=0.0, stretch=0.0,
        )  # fmt: skip
        return TrueTriples(data.model_copy(update={"folders": data.validation, "augment": still}), seed=1)

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["source"])

    def pairs(self, batch: dict[str, Tensor], phase: str) -> Pairs:
        """Who is driven by whom in a phase; in `"cross"` the last ones of a batch by somebody else."""
        source, same, other = (Faces(batch[n], batch.get(f"{n}_landmarks")) for n in ("source", "same", "other"))
        cross = torch.zeros(len(source), dtype=torch.bool, device=source.image.device)
        weight = region_weights(batch["same_regions"], 1.0, **self.options.regions) if self.options.regions else None
        if phase == "inversion":  # of frames cut as driving frames are
            return Pairs(same, same, same, cross, ~cross, weight)
        if phase == "start":
            cross[:] = True
        if phase == "cross":
            cross[round((1 - self.options.cross_share) * len(source)) :] = True
        known = ~cross | self.options.truth
        return Pairs(source, other.where(cross, same), same, cross, known, weight)

    # Steps -----------------------------------------------------------------------------------------------------------

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update the hypernetwork.

        Args:
            batch (`dict[str, torch.Tensor]`): Triples.

        Returns:
            `dict`: Weighted terms and their sum.
        """
        pairs = self.last = self.pairs(batch, self.options.phase)
        if self.options.phase == "start":
            return self._step_start(pairs)
        count = len(pairs)
        if self.options.coarse_size > 0:
            count = max(1, round(self.options.full_size * count))
        sharp = torch.randperm(len(pairs), device=self.device)[:count]  # made at full size
        with self.autocast():
            image = self.drive(self.networks, pairs, sharp)
            terms = self.terms(self.softened(pairs, sharp), image)
        self.face_state.forget()
        loss = torch.stack(list(terms.values())).sum()
        self.update("main", loss)
        return {"loss": loss, **terms}

    def _step_start(self, pairs: Pairs) -> dict[str, Tensor | float]:
        with self.autocast():
            loss, error = start_loss(self.networks, pairs, self.options.truncation, self.options.pairings)
        self.update("main", loss)
        return {"loss": loss, "explained": 1.0 - error}

    def drive(self, networks: dict[str, nn.Module], pairs: Pairs, sharp: Tensor | None = None) -> Tensor:
        """Sources with their drivers' pose.

        Args:
            networks (`dict[str, nn.Module]`): Those of the stage, or averaged ones.
            pairs (`Pairs`): The batch.
            sharp (`torch.Tensor` of int, *optional*): Pairs that are made at full size; the others are enlarged.

        Returns:
            `torch.Tensor` of shape `(batch, 3, size, size)`: RGB, about [-1, 1], float32, of the data's size.
        """
        generator = networks["generator"]
        code, pose = code_and_pose(networks, pairs.source, pairs.driver, self.options.truncation)
        styles = generator.to_stylespace(code)
        offsets = networks["hypernetwork"](appearance_map(networks, pairs.source), pose, styles=styles)
        if sharp is None or len(sharp) == len(pairs):
            return self._sized(generator(styles=styles, offsets=offsets))
        last = generator.rgb_layer(self.options.coarse_size)
        state = generator(styles=styles, offsets=offsets, stop_after=last)
        styles = [style[sharp] for style in styles]
        offsets = [None if offset is None else offset[sharp] for offset in offsets]
        finished = generator(styles=styles, offsets=offsets, resume=take(state, sharp))
        return self._sized(state.rgb).index_copy(0, sharp, self._sized(finished))

    def softened(self, pairs: Pairs, sharp: Tensor) -> Pairs:
        """The same with goals as soft as images that are not made at full size."""
        if len(sharp) == len(pairs):
            return pairs
        goal = pairs.goal.image
        soft = self._sized(F.interpolate(goal, (self.options.coarse_size,) * 2, mode="area"))
        goal = pairs.goal.shown(soft.index_copy(0, sharp, goal[sharp]))
        return replace(pairs, goal=goal)

    def _sized(self, image: Tensor) -> Tensor:
        """Images at the data's size, float32."""
        size, image = self.preset.data.size, image.float()
        if image.shape[-1] >= size:
            return F.adaptive_avg_pool2d(image, size)
        return F.interpolate(image, size=(size, size), mode="bilinear")

    # Validation ------------------------------------------------------------------------------------------------------

    def validate(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Scores of all phases, whichever is trained, and of the inversion alone (`plain`)."""
        networks = self._averaged_networks()
        scores: dict[str, Tensor | float] = {}
        for phase in ("inversion", "self"):
            pairs = self.pairs(batch, phase)
            images = {phase: self.drive(networks, pairs)}
            if phase == "inversion":
                code = source_code(networks, pairs.source, self.options.truncation)
                images["plain"] = self._sized(networks["generator"](code))
            for name, image in images.items():
                found = image_scores(image, pairs.goal.image, self.perceptual)
                scores |= {f"{measure}/{name}": value for measure, value in found.items()}
                scores[f"likeness/{name}"] = self._likeness(pairs.goal.shown(image), pairs.goal).mean()
        return scores | self._validate_cross(networks, batch)

    def _validate_cross(self, networks: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Everybody driven by somebody else: identity, and pose as the network reads it that teaches shapes."""
        pairs = self.pairs(batch, "self")
        other = Faces(batch["other"], batch.get("other_landmarks"))
        pairs = Pairs(pairs.source, other, pairs.goal, ~pairs.cross, ~pairs.known | self.options.truth)
        made = other.shown(self.drive(networks, pairs))
        near, far = (self._likeness(made, faces) for faces in (pairs.source, other))
        size = self.face_state.network.config.image_size
        poses = [self.face_state.network(x.square("ffhq", size)).pose.cpu() for x in (made, other)]
        scores = {"likeness/cross": near.mean(), "driver_likeness/cross": far.mean()}
        scores["nearer/cross"] = (near > far).float().mean()
        scores["pose_error/cross"] = (poses[0] - poses[1]).abs().mean()
        for k, angle in enumerate(("yaw", "pitch")):
            scores[f"{angle}_correlation/cross"] = correlation(poses[0][:, k].numpy(), poses[1][:, k].numpy())
        if self.options.truth:
            found = image_scores(made.image, pairs.goal.image, self.perceptual)
            scores |= {f"{measure}/cross": value for measure, value in found.items()}
        return scores

    def _likeness(self, faces: Faces, others: Faces) -> Tensor:
        """Cosines `(batch,)` of embeddings."""
        recognizer = self.networks["recognizer"]
        embedded = [recognizer(x.of_identity(recognizer)).float() for x in (faces, others)]
        return (embedded[0] * embedded[1]).sum(1)

    def _averaged_networks(self) -> dict[str, nn.Module]:
        return {**self.networks, "hypernetwork": self.averaged("hypernetwork")}

    @torch.no_grad()
    def sample_grid(self) -> np.ndarray | None:
        """Rows of: source, its inversion alone, driver, result, goal (black where there is none)."""
        if self.last is None:
            return None
        rows = torch.linspace(0, len(self.last) - 1, min(len(self.last), 8)).long().to(self.device)
        last = self.last
        pairs = Pairs(last.source[rows], last.driver[rows], last.goal[rows], last.cross[rows], last.known[rows])
        networks = self._averaged_networks()
        plain = self._sized(networks["generator"](source_code(networks, pairs.source, self.options.truncation)))
        image = self.drive(networks, pairs)
        goal = torch.where(pairs.known[:, None, None, None], pairs.goal.image, -torch.ones_like(image))
        columns = (pairs.source.image, plain, pairs.driver.image, image, goal)
        return tile([list(row) for row in zip(*columns, strict=True)])
