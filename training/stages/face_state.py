"""Face state stage: a network learns to read pose, expression, gaze and landmarks from rendered faces.

A regression: every truth in units of its own spread, as in the encoder stage, and landmarks in pixels. Distances
between lids, lips and brows count once more, since they are small against the face and are what viewers see. Heat maps
are drawn towards Gaussians, since positions alone leave open what a map looks like around its mean (Nibali et al.,
"Numerical Coordinate Regression with Convolutional Neural Networks", 2018, sec. 3.3). Every `evaluate_every` steps the
averaged network is measured on held-out people in plain crops.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.arguments import Options, option
from training.data.face_frames import FaceBatches, FaceFrames
from training.evaluation.face_measures import brows, landmark_error, lids, mouth, turn_between
from training.stages.base import Stage, tile
from training.stages.encoder import OPENINGS
from vivface.media.tensors import to_images
from vivface.models.face_state import ANGLES, FaceStateNetwork, FaceStateOutput

JAW, JAW_WEIGHT = 17, 0.5  # first landmarks: their place along the outline is hardly seen
HEAT_SPREAD = 1.0  # standard deviation of a landmark's heat, cells of its map
GAZE = ("gaze_x", "gaze_y")


class FaceStateOptions(Options):
    """Settings of the face state stage."""

    held_out: list[str] = option([], "folders of people for the evaluation; none: no evaluation")
    evaluate_every: int = option(500, "steps between evaluations")
    evaluate_batches: int = option(8, "batches of an evaluation")
    pose: float = option(2.0, "weight of the error of yaw, pitch and roll, in deviations (smooth L1)")
    controls: float = option(1.0, "weight of the squared error of the controls, in variances")
    gaze: float = option(0.5, "weight that the two gaze controls get beyond that")
    landmarks: float = option(0.5, "weight of the distance of the landmarks, pixels")
    rough_landmarks: float = option(0.25, "the same for the heat maps alone")
    heat: float = option(0.0, "weight of the divergence of the heat maps from Gaussians around the landmarks, nats")
    openings: float = option(0.5, "weight of the error of the vectors between lids, lips and brows, pixels")


class FaceStateStage(Stage):
    """Train `face_state`; optimiser `main`."""

    options_class = FaceStateOptions

    def build(self) -> None:
        """Add the network, read the folders, measure the spread of the truth.

        Raises:
            OptionError: If the network sees another size than the batches have, or folders hold no fitting shards.
        """
        data = self.preset.data
        network = self.make(FaceStateNetwork, "face_state")
        self.check_data_size(network.config.image_size, "face_state")
        names = tuple(network.config.controls)
        self.batches = FaceBatches(FaceFrames(data.folders, names), data, self.preset.loop.seed)
        if not self.is_pretrained("face_state"):
            for buffer, value in zip((network.mean, network.deviation), self.batches.spread(), strict=True):
                buffer.copy_(value)
        self.add_network("face_state", network, average=True)
        self.add_optimizer("main", "face_state")
        self.gaze_places = [names.index(name) for name in GAZE]
        self.held_out = None
        if self.options.held_out:
            self.held_out = FaceBatches(FaceFrames(self.options.held_out, names), data, seed=1, plain=True)
        self.shown: Tensor | None = None

    def dataset(self) -> FaceBatches:
        """Single aligned faces, strongly augmented."""
        return self.batches

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        return len(batch["image"])

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update the network.

        Args:
            batch (`dict[str, torch.Tensor]`): Of `FaceBatches`.

        Returns:
            `dict`: Terms of the loss, unweighted, and every `evaluate_every` steps the evaluation.
        """
        self.shown = batch["image"]
        with self.autocast():
            output = self.networks["face_state"](batch["image"])
        terms = self.losses(output, batch)
        self.update("main", sum(getattr(self.options, name) * value for name, value in terms.items()))
        if self.held_out is not None and (self.progress.step + 1) % self.options.evaluate_every == 0:
            terms |= self.evaluate()
        return terms

    def losses(self, output: FaceStateOutput, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms of the loss under the names of their weights, 0-d each."""
        size, deviation = batch["image"].shape[-1], self.networks["face_state"].deviation
        pose = (output.pose - batch["pose"]) / deviation[:ANGLES]
        controls = ((output.controls - batch["controls"]) / deviation[ANGLES:]).square()
        weight = torch.ones(batch["landmarks"].shape[1], device=pose.device)
        weight[:JAW] = JAW_WEIGHT
        first, second = (list(each) for each in zip(*OPENINGS, strict=True))
        gaps = [points[:, first] - points[:, second] for points in (output.landmarks, batch["landmarks"])]
        distances = {
            name: _length((getattr(output, name) - batch["landmarks"]) * size) * weight / weight.mean()
            for name in ("landmarks", "rough_landmarks")
        }
        return {
            "pose": F.smooth_l1_loss(pose, torch.zeros_like(pose), beta=0.1),
            "controls": controls.mean(),
            "gaze": controls[:, self.gaze_places].mean(),
            **{name: value.mean() for name, value in distances.items()},
            "heat": (heat_divergence(output.heat, batch["landmarks"]) * weight / weight.mean()).mean(),
            "openings": _length((gaps[0] - gaps[1]) * size).mean(),
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Errors and correlations on held-out people, see `measure`."""
        network, batches = self.averaged("face_state"), []
        for index in range(self.options.evaluate_batches):
            batch = self.held_out[index]
            output = network(batch["image"].to(self.device))
            batches.append((output, batch))
        found, truth = (
            {name: torch.cat([pair[k][name].float().cpu() for pair in batches]).numpy() for name in names}
            for k, names in enumerate([("pose", "controls", "landmarks")] * 2)
        )
        return {f"held_out/{name}": value for name, value in measure(found, truth, self.gaze_places).items()}

    def sample_grid(self) -> np.ndarray | None:
        """Faces of the last batch with the landmarks found, eight a row."""
        if self.shown is None:
            return None
        with torch.no_grad():
            points = self.averaged("face_state")(self.shown).landmarks
        size = self.shown.shape[-1]
        images = []
        for image, face in zip(self.shown, points.cpu().numpy(), strict=True):
            canvas = cv2.resize(to_images(image), (2 * size, 2 * size))
            for x, y in face * 2 * size:
                cv2.circle(canvas, (round(float(x)), round(float(y))), 1, (0, 255, 0), -1)
            images.append(canvas)
        return tile([images[k : k + 8] for k in range(0, len(images), 8)])


def heat_divergence(heat: Tensor, landmarks: Tensor) -> Tensor:
    """How far heat maps are from Gaussians around the landmarks: Kullback and Leibler's divergence.

    Args:
        heat (`torch.Tensor` of shape `(batch, count, height, width)`): Logits.
        landmarks (`torch.Tensor` of shape `(batch, count, 2)`): x, y in fractions of the image.

    Returns:
        `torch.Tensor` of shape `(batch, count)`: Nats; 0 for landmarks outside the image.
    """
    wanted = []
    for axis, count in enumerate(heat.shape[:1:-1]):
        cells = torch.arange(count, device=heat.device) + 0.5
        wanted.append((-0.5 * ((cells - landmarks[..., axis, None] * count) / HEAT_SPREAD).square()).softmax(-1))
    across, down = wanted  # (batch, count, width), (batch, count, height)
    expected = torch.einsum("nkyx,nkx,nky->nk", heat.float(), across, down)
    entropy = sum(torch.special.entr(each).sum(-1) for each in wanted)
    inside = ((landmarks > 0) & (landmarks < 1)).all(-1)
    return (heat.float().flatten(2).logsumexp(-1) - expected - entropy) * inside


def measure(found: dict[str, np.ndarray], truth: dict[str, np.ndarray], gaze: list[int]) -> dict[str, float]:
    """How well states are read.

    Args:
        found, truth (`dict[str, np.ndarray]`): `pose` `(count, 3)` in degrees, `controls` `(count, K)`, `landmarks`
            `(count, 68, 2)`.
        gaze (`list[int]`): Places of the gaze controls.

    Returns:
        `dict[str, float]`: `landmarks` and `landmarks_all` in percent of the eyes' distance, mean errors of the angles
        and of the turn in degrees, and correlations of lids, mouth, brows and gaze over all frames.
    """
    pairs = list(zip(found["landmarks"], truth["landmarks"], strict=True))
    values = {
        "landmarks": float(np.mean([landmark_error(a, b) for a, b in pairs])),
        "landmarks_all": float(np.mean([landmark_error(a, b, 0) for a, b in pairs])),
        "turn": float(np.mean([turn_between(a, b) for a, b in zip(found["pose"], truth["pose"], strict=True)])),
    }
    errors = np.abs(found["pose"] - truth["pose"]).mean(0)
    values |= dict(zip(("yaw", "pitch", "roll"), map(float, errors), strict=True))
    for name, function in (("lids", lids), ("mouth", mouth), ("brows", brows)):
        values[name] = correlation(*np.array([[function(a), function(b)] for a, b in pairs]).T)
    for name, place in zip(GAZE, gaze, strict=True):
        values[name] = correlation(found["controls"][:, place], truth["controls"][:, place])
    return values


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, of two series `(count,)`; 0 if one of them does not vary."""
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-12))


def _length(x: Tensor) -> Tensor:
    """Length of the vectors along the last axis, smooth near zero."""
    return x.square().sum(-1).add(1e-3).sqrt()
