"""Face state network: pose, expression, gaze and landmarks of an aligned face, with gradients to the image.

It stands where papers use readers that cannot be shipped: the 3D face model of HyperReenact (sec. 3.3: shape, gaze and
pose losses) and the pose network P_r of Video2StyleGAN (eq. 7). Landmarks are expected positions under heat maps, which
keeps them differentiable: Sun et al., "Integral Human Pose Regression" (ECCV 2018), eq. 2. Trained on renders, by
`training/stages/face_state.py`. It must not judge a run that it teaches: a generator learns to please its teacher.
"""

import os
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Tensor, nn

from vivface.models.layers.norm import BatchNorm2d
from vivface.models.layers.residual import residual_stage, stem
from vivface.models.precision import PrecisionMixin

CONTROLS = (
    "jaw_open", "jaw_left", "jaw_right", "smile_left", "smile_right", "grin", "frown", "pucker", "funnel", "stretch",
    "press", "part", "upper_lip_up", "lower_lip_down", "mouth_left", "mouth_right", "puff", "sneer_left",
    "sneer_right", "nose_wrinkle", "tongue_out", "blink_left", "blink_right", "wide", "squint_left", "squint_right",
    "brow_up_left", "brow_up_right", "brow_inner_up", "brow_down_left", "brow_down_right", "gaze_x", "gaze_y",
)  # fmt: skip
ANGLES, LANDMARKS = 3, 68  # yaw, pitch, roll; iBUG
GAZE_UNIT = 20.0  # degrees of a gaze control of 1
EYES = ((36, 42), (42, 48))  # landmarks of the person's right and left eye
EYE_WINDOW = (0.20, 0.15)  # width and height of what is seen of an eye, fractions of the image
EYE_SAMPLES = (32, 24)  # and in samples
GLOBAL, EYE, HIDDEN = 128, 64, 192  # widths of what is read from the whole face, from an eye, and from all together


@dataclass
class FaceStateOutput(BaseOutput):
    """What a face does; left and right are the person's.

    Attributes:
        pose (`torch.Tensor` of shape `(batch, 3)`): Yaw, pitch, roll in degrees, against the axes of the image: yaw > 0
            toward its left edge, pitch > 0 down, roll > 0 clockwise. The turn is `R_y(yaw) R_x(pitch) R_z(roll)`.
        controls (`torch.Tensor` of shape `(batch, K)`): Expression as `config.controls` names it; about 0 to 1, gaze
            about -1.2 to 1.2.
        gaze (`torch.Tensor` of shape `(batch, 2)`): Yaw and pitch of the eyes against the head in degrees, signs as of
            the pose.
        landmarks (`torch.Tensor` of shape `(batch, 68, 2)`): x, y in fractions of the image, from its upper left edge.
        rough_landmarks (`torch.Tensor` of shape `(batch, 68, 2)`): The same from the heat maps alone.
        heat (`torch.Tensor` of shape `(batch, 68, image_size / 4, image_size / 4)`): Logits of the heat maps.
    """

    pose: Tensor
    controls: Tensor
    gaze: Tensor
    landmarks: Tensor
    rough_landmarks: Tensor
    heat: Tensor


class FaceStateNetwork(PrecisionMixin, ModelMixin, ConfigMixin):
    """Read pose, expression, gaze and landmarks of an FFHQ-aligned face.

    A trunk of IR-SE units sees the image folded to half its size. Its maps are joined from coarse to fine into one at a
    quarter of the image, from which heat maps give rough landmarks. A window around each rough eye is read once more
    at full resolution. Everything together gives the state and corrects the landmarks.

    Args:
        image_size (`int`, *optional*, defaults to 128): Height and width of the image, a multiple of 32.
        widths (`tuple[int, ...]`, *optional*): Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image.
        units (`tuple[int, ...]`, *optional*): Residual units at 1/4 to 1/32.
        join (`int`, *optional*, defaults to 48): Channels in which the maps are joined.
        eye_widths (`tuple[int, ...]`, *optional*): Channels at all, 1/2 and 1/4 of an eye's window.
        eye_layers (`tuple[int, ...]`, *optional*): Convolutions at each of these.
        controls (`tuple[str, ...]`, *optional*): Names of the controls; `"gaze_x"` and `"gaze_y"` among them.

    Raises:
        ValueError: If an argument does not fit the others.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 128,
        widths: tuple[int, ...] = (16, 32, 64, 96, 144),
        units: tuple[int, ...] = (2, 2, 2, 1),
        join: int = 48,
        eye_widths: tuple[int, ...] = (16, 32, 48),
        eye_layers: tuple[int, ...] = (1, 1, 1),
        controls: tuple[str, ...] = CONTROLS,
    ):
        super().__init__()
        if len(widths) != 5 or len(units) != 4:
            raise ValueError(f"`widths` and `units` have {len(widths)} and {len(units)} entries; expected 5 and 4.")
        if len(eye_widths) != 3 or len(eye_layers) != 3:
            given = f"{len(eye_widths)} and {len(eye_layers)}"
            raise ValueError(f"`eye_widths` and `eye_layers` have {given} entries; expected 3 each.")
        if image_size <= 0 or image_size % 32:
            raise ValueError(f"`image_size` is {image_size}; expected a multiple of 32.")
        if missing := {"gaze_x", "gaze_y"}.difference(controls):
            raise ValueError(f"`controls` lacks {sorted(missing)[0]!r}.")
        self.stem = stem(12, widths[0])
        self.stages = nn.ModuleList(
            residual_stage(widths[k], [widths[k + 1]] * units[k], stride=2, squeeze_excite=True) for k in range(4)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, join, 1) for width in widths[1:])
        self.joined = _conv(join, join)
        self.heat = nn.Conv2d(join, LANDMARKS, 1)
        self.whole = nn.Linear(widths[-1] * (image_size // 32) ** 2, GLOBAL)
        self.eye = _eye_layers(eye_widths, eye_layers)
        self.eye_linear = nn.Linear(eye_widths[-1] * (EYE_SAMPLES[0] // 4) * (EYE_SAMPLES[1] // 4), EYE)
        self.hidden = nn.Sequential(
            nn.Linear(GLOBAL + 2 * EYE + 2 * LANDMARKS, HIDDEN), nn.LayerNorm(HIDDEN), nn.PReLU(HIDDEN)
        )
        self.state = nn.Linear(HIDDEN, ANGLES + len(controls))
        self.correction = nn.Linear(HIDDEN, 2 * LANDMARKS)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)
        # What states of training are like: the last layer answers in deviations from their mean.
        self.register_buffer("mean", torch.zeros(ANGLES + len(controls)))
        self.register_buffer("deviation", torch.ones(ANGLES + len(controls)))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None = None, **kwargs) -> Self:
        """Load the network as every diffusers model; without a name, the one that comes with the package.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`, *optional*): Folder or Hub id.
            kwargs: See `diffusers.ModelMixin.from_pretrained`.

        Returns:
            The network in evaluation mode, its weights in float32 unless `dtype` says otherwise.
        """
        name = pretrained_model_name_or_path
        return super().from_pretrained(files("vivface") / "bundled" / "face_state" if name is None else name, **kwargs)

    def forward(self, image: Tensor) -> FaceStateOutput:
        """Read a face.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, image_size, image_size)`): FFHQ-aligned RGB in [-1, 1].

        Returns:
            `FaceStateOutput`: In float32; gradients flow to `image`.

        Raises:
            ValueError: If the image has another shape.
        """
        size = self.config.image_size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"`image` has shape {tuple(image.shape)}; expected (batch, 3, {size}, {size}).")
        maps = self._maps(image)
        heat = self._heat(maps).float()
        rough = expected_positions(heat)
        seen = [self.whole(maps[-1].flatten(1)), *(self._eye(image, rough, side) for side in (0, 1))]
        spread = ((rough - 0.5) * 4).flatten(1).to(seen[0].dtype)
        hidden = self.hidden(torch.cat([F.relu(x) for x in seen] + [spread], dim=1))
        state = self.mean.float() + self.deviation.float() * self.state(hidden).float()
        landmarks = rough + self.correction(hidden).float().view(-1, LANDMARKS, 2) / 32
        pose, controls = state[:, :ANGLES], state[:, ANGLES:]
        gaze = controls[:, [self.config.controls.index(name) for name in ("gaze_x", "gaze_y")]] * GAZE_UNIT
        return FaceStateOutput(pose, controls, gaze, landmarks, rough, heat)

    def _maps(self, image: Tensor) -> list[Tensor]:
        """Maps of the stages: `(batch, widths[k + 1], image_size / 2^(k + 2), ...)`."""
        x = self.stem(F.pixel_unshuffle(image, 2).contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def _heat(self, maps: list[Tensor]) -> Tensor:
        """Logits of the landmarks' places `(batch, 68, image_size / 4, image_size / 4)`."""
        x = self.lateral[-1](maps[-1])
        for layer, lower in zip(self.lateral[-2::-1], maps[-2::-1], strict=True):
            x = layer(lower) + F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.heat(self.joined(x))

    def _eye(self, image: Tensor, rough: Tensor, side: int) -> Tensor:
        """What is seen around an eye `(batch, EYE)`; the left one is mirrored: one set of weights reads both."""
        centre = rough[:, EYES[side][0] : EYES[side][1]].mean(1)  # (batch, 2)
        across, down = (torch.linspace(-0.5, 0.5, n, device=image.device) for n in EYE_SAMPLES)
        across = across * (-EYE_WINDOW[0] if side else EYE_WINDOW[0])
        offsets = torch.stack(torch.meshgrid(across, down * EYE_WINDOW[1], indexing="xy"), dim=-1)  # (24, 32, 2)
        places = (centre[:, None, None] + offsets) * 2 - 1
        window = F.grid_sample(image.float(), places, padding_mode="border", align_corners=False).to(image.dtype)
        return self.eye_linear(self.eye(window).flatten(1))


def expected_positions(heat: Tensor) -> Tensor:
    """Mean position under the softmax of each map.

    Args:
        heat (`torch.Tensor` of shape `(batch, count, height, width)`): Logits.

    Returns:
        `torch.Tensor` of shape `(batch, count, 2)`: x, y in fractions of the image, float32.
    """
    height, width = heat.shape[2:]
    weight = heat.float().flatten(2).softmax(-1).view(heat.shape)
    x, y = ((torch.arange(n, device=heat.device) + 0.5) / n for n in (width, height))
    return torch.stack([weight.sum(2) @ x, weight.sum(3) @ y], dim=-1)


def _eye_layers(widths: tuple[int, ...], layers: tuple[int, ...]) -> nn.Sequential:
    """Convolutions at all, 1/2 and 1/4 of a window."""
    made, last = [], 3
    for level, (width, count) in enumerate(zip(widths, layers, strict=True)):
        for k in range(count):
            made.append(_conv(last, width, 2 if level and k == 0 else 1))
            last = width
    return nn.Sequential(*made)


def _conv(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution, batch norm, PReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, BatchNorm2d(out_channels), nn.PReLU(out_channels))
