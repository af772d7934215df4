"""Which channels of StyleSpace belong to eyes, nose and mouth: overlap of feature maps with masks.

Video2StyleGAN, sec. 3.3.3, eq. 8-9. The maps C_l that enter a layer, one a channel of its style, are normalised to
[0, 1], enlarged to the size of the masks and binarised. A channel belongs to a part if, over many faces,

    IOU+ = IoU(map, mask of the part) >= fg    and    IOU- = IoU(map, everything else) <= bg

The second inequality is printed the other way round. The text gives no thresholds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vivface.errors import OptionError
from vivface.models.layers.styled import ToRGB
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.stylegan3 import StyleGAN3Generator, layer_signals
from vivface.tensor_files import TensorFile

PARTS = ("eyes", "nose", "mouth")
FOREGROUND, BACKGROUND, ACTIVATION = 0.2, 0.1, 0.5
FILE = TensorFile("vivface-local-channels-1", "local channels")


@dataclass(frozen=True)
class LocalChannels:
    """The channels X_s of the parts of a face.

    Attributes:
        parts (mapping): Name of a part -> `torch.Tensor` of shape `(n, 2)`, int32: place in the list of styles, and
            channel.
    """

    parts: dict[str, Tensor]

    def masks(self, widths: Sequence[int], parts: Iterable[str] | None = None) -> list[Tensor]:
        """Which entries of the styles are local.

        Args:
            widths (sequence of `int`): Entries of every style.
            parts (iterable of `str`, *optional*): Which; all by default.

        Returns:
            `list[torch.Tensor]`: `(width,)` of bool, one a style.

        Raises:
            OptionError: If a part is unknown, or a channel lies outside of the styles.
        """
        masks = [torch.zeros(width, dtype=torch.bool) for width in widths]
        for part in self.parts if parts is None else parts:
            if part not in self.parts:
                raise OptionError(f"There is no part {part!r}: give some of {', '.join(self.parts)}.")
            for style, channel in self.parts[part].tolist():
                if not (0 <= style < len(widths) and 0 <= channel < widths[style]):
                    raise OptionError(
                        f"The local channels name channel {channel} of style {style}, which this generator lacks: "
                        "select them again."
                    )
                masks[style][channel] = True
        return masks

    def save(self, path: str | os.PathLike) -> Path:
        """Write a safetensors file.

        Raises:
            MediaError: If the file cannot be written.
        """
        return FILE.save(path, {part: channels.to(torch.int32) for part, channels in self.parts.items()})

    @classmethod
    def load(cls, path: str | os.PathLike) -> LocalChannels:
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: If it is missing, damaged, or something else.
        """

        def decode(parts: dict[str, Tensor], metadata: dict[str, str]) -> LocalChannels:
            if not all(t.ndim == 2 and t.shape[1] == 2 and t.dtype == torch.int32 for t in parts.values()):
                raise ValueError("a part is no list of styles and channels")
            return cls({part: parts[part] for part in (*PARTS, *sorted(parts)) if part in parts})

        return FILE.load(path, decode)


def overlap(feature: Tensor, masks: Tensor, activation: float = ACTIVATION) -> tuple[Tensor, Tensor]:
    """IOU+ and IOU- of the maps of a layer with the parts of faces (eq. 8-9).

    Args:
        feature (`torch.Tensor` of shape `(batch, channels, height, width)`): The maps, of the image and nothing else.
        masks (`torch.Tensor` of shape `(batch, parts, size, size)`): bool.
        activation (`float`, *optional*, defaults to 0.5): From which share of its range on a map is on.

    Returns:
        Two `torch.Tensor` of shape `(parts, channels)`: Mean over the batch of the intersection over union with a
        part, and with all that is not this part.
    """
    size = masks.shape[-2:]
    maps = F.interpolate(feature.float(), size, mode="bilinear", align_corners=False)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    on = ((maps - low) / (high - low).clamp_min(1e-12) > activation).flatten(2).float()  # (batch, channels, pixels)
    part = masks.flatten(2).float()  # (batch, parts, pixels)
    return _iou(part, on), _iou(1 - part, on)


def _iou(part: Tensor, on: Tensor) -> Tensor:
    """`(parts, channels)`: intersection over union, averaged over the batch."""
    both = torch.einsum("bpx,bcx->bpc", part, on)
    either = part.sum(2)[:, :, None] + on.sum(2)[:, None, :] - both
    return (both / either.clamp_min(1)).mean(0)


def choose_channels(
    inside: Sequence[Tensor],
    outside: Sequence[Tensor],
    parts: Sequence[str] = PARTS,
    fg: float = FOREGROUND,
    bg: float = BACKGROUND,
) -> LocalChannels:
    """The channels that pass both thresholds; one that passes for several parts serves that which it fits best.

    Args:
        inside, outside (sequences of `torch.Tensor` of shape `(parts, channels)`): IOU+ and IOU-, one a style; styles
            without maps have no channels.
        parts (sequence of `str`, *optional*): Their names.
        fg, bg (`float`, *optional*): Least IOU+, largest IOU-.
    """
    chosen: dict[str, list[tuple[int, int]]] = {part: [] for part in parts}
    for style, (plus, minus) in enumerate(zip(inside, outside, strict=True)):
        for channel in range(plus.shape[1]):
            passes = (plus[:, channel] >= fg) & (minus[:, channel] <= bg)
            if passes.any():
                best = int(torch.where(passes, plus[:, channel], -1.0).argmax())
                chosen[parts[best]].append((style, channel))
    return LocalChannels({p: torch.tensor(c, dtype=torch.int32).reshape(-1, 2) for p, c in chosen.items()})


@torch.no_grad()
def layer_overlaps(
    generator: StyleGAN3Generator | StyleGAN2Generator,
    styles: Sequence[Tensor],
    masks: Tensor,
    activation: float = ACTIVATION,
) -> tuple[list[Tensor], list[Tensor]]:
    """IOU+ and IOU- of everything that enters the generator's layers.

    Args:
        generator (`StyleGAN3Generator` or `StyleGAN2Generator`): In evaluation mode.
        styles (sequence of `torch.Tensor` of shape `(batch, channels)`): Faces; one a layer.
        masks (`torch.Tensor` of shape `(batch, parts, size, size)`): Where their parts are in the images; bool.
        activation (`float`, *optional*, defaults to 0.5): As for `overlap`.

    Returns:
        Two lists of `torch.Tensor` of shape `(parts, channels)`, one a style. There are no channels in the first layer,
        into which no map of the face enters, nor in StyleGAN2's to-RGB layers, which share the maps of the next one.
    """
    none = masks.new_zeros((masks.shape[1], 0), dtype=torch.float32)
    inside, outside, state = [none], [none], None
    for number, name in enumerate(generator.layer_names[:-1]):
        state = generator(styles=styles, resume=state, stop_after=name)
        if isinstance(generator.get_submodule(generator.layer_names[number + 1]), ToRGB):
            plus = minus = none
        else:
            plus, minus = overlap(_image_part(generator, number, state.feature), masks, activation)
        inside.append(plus)
        outside.append(minus)
    return inside, outside


def _image_part(generator: StyleGAN3Generator | StyleGAN2Generator, number: int, feature: Tensor) -> Tensor:
    """The output of layer `number` without the margin that StyleGAN3's maps have around the image."""
    if not isinstance(generator, StyleGAN3Generator):
        return feature
    signals = layer_signals(generator.config.size, [1] * (len(generator.layer_names) - 2))
    rate = signals[max(number - 1, 0)].rate  # samples a side of the image; the input has the rate of the first layer
    margin = (feature.shape[-1] - rate) // 2
    return feature[:, :, margin : margin + rate, margin : margin + rate]
