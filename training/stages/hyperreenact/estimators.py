"""Losses of shape and gaze (HyperReenact, sec. 3.3) by whatever reads faces: `FaceStateNetwork`, or the authors' files.

A `ShapeLoss` and a `GazeLoss` take two batches of faces, the made and the wanted ones, and give a number for every pair
`(batch,)`; gradients flow to the made ones alone. `same` `(batch,)` of a shape loss says whether a pair shows one
person: if not, only pose and expression are compared, since the driver's own form is not wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from training.stages.encoder import OPENINGS
from training.stages.hyperreenact.faces import Faces
from vivface.errors import BackendError
from vivface.metrics.coefficients import Deca
from vivface.models import FaceStateNetwork, PoseEncoder
from vivface.models.face_state import ANGLES, GAZE_UNIT, FaceStateOutput

ShapeLoss = Callable[[Faces, Faces, Tensor], Tensor]
GazeLoss = Callable[[Faces, Faces], Tensor]

# Of the crop: differences that count as much as a deviation of pose or controls
LANDMARK_UNIT, OPENING_UNIT = 0.05, 0.02
COEFFICIENTS = {"form": slice(0, 100), "moved": slice(150, 206)}  # of DECA's 236: shape; expression, pose, jaw
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FaceStateEstimator(nn.Module):
    """Shape and gaze by one network, which reads every pair once.

    Args:
        network (`FaceStateNetwork`): Frozen.
    """

    def __init__(self, network: FaceStateNetwork):
        super().__init__()
        self.network = network
        self._last: tuple[Faces, Faces, FaceStateOutput, FaceStateOutput] | None = None

    def shape(self, made: Faces, wanted: Faces, same: Tensor) -> Tensor:
        """L1 of landmarks, of the gaps between lids, lips and brows, and of pose and controls in their deviations.

        Between two people of pose and controls alone.
        """
        found, expected = self._read(made, wanted)
        deviation = self.network.deviation.float()
        states = [torch.cat([x.pose, x.controls], dim=1) / deviation for x in (found, expected)]
        difference = (states[0] - states[1]).abs()
        moved = difference[:, :ANGLES].mean(1) + difference[:, ANGLES:].mean(1)
        form = (found.landmarks - expected.landmarks).abs().mean((1, 2)) / LANDMARK_UNIT
        open_ = (_gaps(found.landmarks) - _gaps(expected.landmarks)).abs().mean((1, 2)) / OPENING_UNIT
        return moved + same.float() * (form + open_)

    def gaze(self, made: Faces, wanted: Faces) -> Tensor:
        """L2 of the directions, in units of 20 degrees."""
        found, expected = self._read(made, wanted)
        return ((found.gaze - expected.gaze) / GAZE_UNIT).square().sum(1).add(1e-6).sqrt()

    def forget(self) -> None:
        """Let go of the last pair."""
        self._last = None

    def _read(self, made: Faces, wanted: Faces) -> tuple[FaceStateOutput, FaceStateOutput]:
        if self._last is None or self._last[0] is not made or self._last[1] is not wanted:
            size = self.network.config.image_size
            with torch.no_grad():
                expected = self.network(wanted.square("ffhq", size))
            self._last = made, wanted, self.network(made.square("ffhq", size)), expected
        return self._last[2:]


class DecaShape(nn.Module):
    """Shape by DECA's encoder: L1 of its coefficients.

    The paper compares the vertices that FLAME makes of them; FLAME's files are not read.

    Args:
        folder (`str`): Holds `deca_model.tar`.

    Raises:
        BackendError: If the file is missing or is another one.
    """

    def __init__(self, folder: str):
        super().__init__()
        self.network = Deca(Path(folder)).eval().requires_grad_(False)

    def forward(self, made: Faces, wanted: Faces, same: Tensor) -> Tensor:
        """See the head of this file."""
        with torch.no_grad():
            expected = self._read(wanted)
        difference = (self._read(made) - expected).abs()
        moved, form = (difference[:, COEFFICIENTS[name]].mean(1) for name in ("moved", "form"))
        return moved + same.float() * form

    def _read(self, faces: Faces) -> Tensor:
        """Coefficients `(batch, 236)`."""
        return self.network.layers(self.network.backbone(faces.square("deca", 224)).mean((2, 3)))


class EthXGaze(nn.Module):
    """Gaze by the baseline of ETH-XGaze (Zhang et al., ECCV 2020): a ResNet-50 with a linear layer.

    It was trained on faces turned upright by their head pose; here it sees DECA's square.

    Args:
        file (`str`): The published `epoch_24_ckpt.pth.tar`.

    Raises:
        BackendError: If the file is missing or is another one.
    """

    def __init__(self, file: str):
        super().__init__()
        entries = _gaze_entries(Path(file))
        self.backbone, self.linear = PoseEncoder(), nn.Linear(2048, 2)
        try:
            trunk = {n.removeprefix("gaze_network."): v for n, v in entries.items() if n.startswith("gaze_network.")}
            known = self.backbone.state_dict()
            self.backbone.load_state_dict({name: trunk[name] for name in known})
            self.linear.load_state_dict({n: entries[f"gaze_fc.0.{n}"] for n in ("weight", "bias")})
        except (KeyError, RuntimeError) as error:
            raise BackendError(f"'{file}' is not ETH-XGaze's network ({error}): copy the published file.") from error
        self.eval().requires_grad_(False)

    def forward(self, made: Faces, wanted: Faces) -> Tensor:
        """L2 of pitch and yaw, radians."""
        with torch.no_grad():
            expected = self._read(wanted)
        return (self._read(made) - expected).square().sum(1).add(1e-6).sqrt()

    def _read(self, faces: Faces) -> Tensor:
        """Pitch and yaw `(batch, 2)` in radians."""
        image = (faces.square("deca", 224) + 1) / 2
        mean, std = (image.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        normal = (image - mean) / std * 2 - 1  # the trunk itself maps [-1, 1] to [0, 1]
        return self.linear(self.backbone(normal).mean((2, 3)))


def _gaps(landmarks: Tensor) -> Tensor:
    """Vectors between lids, lips and brows: `(batch, 68, 2)` to `(batch, gaps, 2)`."""
    first, second = (list(each) for each in zip(*OPENINGS, strict=True))
    return landmarks[:, first] - landmarks[:, second]


def _gaze_entries(file: Path) -> dict[str, Tensor]:
    """Nothing that the file contains is run."""
    if not file.is_file():
        raise BackendError(f"options.gaze_estimator is '{file}', which is no file: give ETH-XGaze's, or 'face-state'.")
    try:
        entries = torch.load(file, map_location="cpu", weights_only=True)["model_state"]
        return {name.removeprefix("module."): value for name, value in entries.items()}
    except Exception as error:  # torch's reader raises errors of many kinds
        raise BackendError(f"'{file}' holds no 'model_state' that can be read: copy the published file.") from error
