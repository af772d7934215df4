"""Which channels of StyleSpace move one attribute of the face and nothing else.

Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, sec. 3.3:

    S_k         = G_ss(A(L_ID) + delta_k 1_i)
    Gamma_{f,i} = mean over k of D(S_k M_f, S_{k-1} M_f) / |delta_k - delta_{k-1}|      eq. 5
    eta_{f,i}   = exp(-1.5 Gamma_{f,i} / max over V_f of Gamma_{f,i})                   eq. 8

Forward differences over a range, not gradients: changes of StyleSpace do not add up (eq. 6). The text leaves open, and
here it is: candidates are the channels of convolutions (to-RGB moves colour) at the W+ indices of motion codes; delta_k
are five values from -2 to 2 standard deviations of the channel over people; D is a map of distances, so that the mask
weights it instead of the pictures; a channel leaks where it moves what lies outside of M_f (the text's sensitivity of
the whole face contains f itself); and the score of a channel is its sensitivity, reduced where the leak is more than a
quarter of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vivface.editing.codec_basis import ATTRIBUTES, VALUES, Channels
from vivface.errors import OptionError
from vivface.models.layers.styled import ToRGB
from vivface.models.stylegan2 import StyleGAN2Generator

DELTAS = (-2.0, -1.0, 0.0, 1.0, 2.0)  # standard deviations
LEAK = 0.25  # share of the sensitivity that may leak
LEAST = 4  # channels an attribute
RATE_FALL = 1.5  # of eq. 8
BATCH = 16  # pictures at once

DistanceMap = Callable[[Tensor, Tensor], Sequence[Tensor]]  # two batches of images -> maps (batch, height, width)


def candidates(generator: StyleGAN2Generator) -> list[tuple[int, int]]:
    """Layer (in call order) and channel of everything that may be chosen."""
    indices = []
    for layer, (name, latent) in enumerate(zip(generator.layer_names, generator.layer_latents, strict=True)):
        module = generator.get_submodule(name)
        if latent < generator.config.motion_codes and not isinstance(module, ToRGB):
            indices += [(layer, channel) for channel in range(module.weight.shape[1])]
    return indices


def shortlist(
    render: Callable[[list[Tensor]], Tensor],
    styles: Sequence[Tensor],
    indices: Sequence[tuple[int, int]],
    deviation: Tensor,
    masks: Tensor,
    count: int,
    probes: int = 8,
) -> list[int]:
    """The channels that are worth a closer look: those that change an attribute's pixels most, by gradients.

    J^T times a random picture of independent pixels within a mask has the energy of the channel's change there, for all
    channels at once. Forward differences (`sensitivity`) then decide among these.

    Args:
        render, styles, indices, deviation, masks: As for `sensitivity`, the masks of the size of the images.
        count (`int`): How many channels, about the same number an attribute.
        probes (`int`, *optional*, defaults to 8): Random pictures a mask.

    Returns:
        list of `int`: Places in `indices`, rising.
    """
    random = torch.Generator().manual_seed(0)
    ranks = []
    for mask in masks:
        energies = []
        for part in (mask, 1 - mask):
            with torch.enable_grad():
                batch = [style.expand(probes, -1).clone().requires_grad_() for style in styles]
                images = render(batch)
                noise = torch.randn(images.shape, generator=random).to(images) * part.to(images).sqrt()
                gradients = torch.autograd.grad((images * noise).sum(), batch, allow_unused=True)
            energy = [None if gradient is None else gradient.square().mean(0) for gradient in gradients]
            values = [0.0 if energy[layer] is None else float(energy[layer][channel]) for layer, channel in indices]
            energies.append(torch.tensor(values) * deviation.cpu().float().square())
        inside, outside = energies
        ranks.append((inside.square() / (inside + outside).clamp(min=1e-20)).argsort(descending=True, stable=True))
    chosen: list[int] = []
    for place in torch.stack(ranks, dim=1).flatten().tolist():  # the best of every attribute, the second of every ...
        if len(chosen) == min(count, len(indices)):
            break
        if place not in chosen:
            chosen.append(place)
    return sorted(chosen)


def sensitivity(
    render: Callable[[list[Tensor]], Tensor],
    styles: Sequence[Tensor],
    indices: Sequence[tuple[int, int]],
    deviation: Tensor,
    masks: Tensor,
    distance: DistanceMap,
    on_channel: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Gamma of channels (eq. 5), within masks and outside of them.

    Args:
        render (callable): Styles `(batch, channels)` a layer to images `(batch, 3, size, size)`.
        styles (sequence of `torch.Tensor` of shape `(1, channels)`): A(L_ID) and, for a system that adds motion, that.
        indices (sequence of `(layer, channel)`): Channels to look at.
        deviation (`torch.Tensor` of shape `(len(indices),)`): Standard deviation of every channel.
        masks (`torch.Tensor` of shape `(attributes, size, size)`): In [0, 1].
        distance (callable): Maps of distances of two batches of images, of one or several sizes.
        on_channel (callable, *optional*): Told how many channels are done; may raise to stop.

    Returns:
        Two `torch.Tensor` of shape `(attributes, len(indices))`: Gamma with M_f, and with 1 - M_f, per standard
        deviation.
    """
    deltas = torch.tensor(DELTAS)
    at_once = max(BATCH // len(deltas), 1)
    inside, outside = [], []
    for start in range(0, len(indices), at_once):
        part = indices[start : start + at_once]
        batch = [style.expand(len(part) * len(deltas), -1).clone() for style in styles]
        for number, (layer, channel) in enumerate(part):
            rows = slice(number * len(deltas), (number + 1) * len(deltas))
            batch[layer][rows, channel] += deltas.to(batch[layer]) * deviation[start + number].to(batch[layer])
        images = render(batch).unflatten(0, (len(part), len(deltas)))
        maps = distance(images[:, 1:].flatten(0, 1), images[:, :-1].flatten(0, 1))
        for store, chosen in ((inside, masks), (outside, 1 - masks)):
            means = torch.stack([_weighted(places, chosen) for places in maps]).mean(0)  # (part * 4, attributes)
            steps = (deltas[1:] - deltas[:-1]).abs().to(means).repeat(len(part))
            store.append((means / steps[:, None]).unflatten(0, (len(part), -1)).mean(1))
        if on_channel is not None:
            on_channel(start + len(part))
    return torch.cat(inside).T, torch.cat(outside).T


def _weighted(places: Tensor, masks: Tensor) -> Tensor:
    """Mean over the image of a map of distances times each mask: `(batch, attributes)`."""
    if masks.shape[1:] != places.shape[1:]:
        masks = F.adaptive_avg_pool2d(masks[None], places.shape[1:])[0]
    return torch.einsum("bhw,ahw->ba", places, masks.to(places)) / places[0].numel()


def scores(inside: Tensor, outside: Tensor) -> Tensor:
    """How well channels suit attributes: the median sensitivity over people, reduced by the leak.

    Args:
        inside, outside (`torch.Tensor` of shape `(people, attributes, n)`): From `sensitivity`.

    Returns:
        `torch.Tensor` of shape `(attributes, n)`.
    """
    within, leak = inside.median(0).values, outside.median(0).values
    return within * (LEAK * within / leak.clamp(min=1e-12)).clamp(max=1.0)


def select(
    scored: Tensor,
    gamma: Tensor,
    indices: Sequence[tuple[int, int]],
    deviation: Tensor,
    attributes: Sequence[str] = ATTRIBUTES,
) -> Channels:
    """The best 32 channels, at least four an attribute; each serves the attribute in which it scores most.

    An attribute's scores count relative to its best one, as regions differ in size.

    Args:
        scored (`torch.Tensor` of shape `(attributes, n)`): From `scores`.
        gamma (`torch.Tensor` of shape `(attributes, n)`): Median sensitivity.
        indices (sequence of `(layer, channel)`): Of the n channels.
        deviation (`torch.Tensor` of shape `(n,)`): Of the n channels.
        attributes (sequence of `str`, *optional*): Names.

    Returns:
        `Channels`: By attribute, best first.

    Raises:
        OptionError: If there are fewer than 32 channels.
    """
    if len(indices) < VALUES:
        raise OptionError(f"There are {len(indices)} channels to choose from; expected at least {VALUES}.")
    relative = scored / scored.amax(1, keepdim=True).clamp(min=1e-12)
    best, owner = relative.max(0)
    order = best.argsort(descending=True, stable=True).tolist()
    chosen: list[tuple[int, int]] = []  # attribute, channel
    taken: set[int] = set()
    for attribute in range(len(attributes)):  # the least of every attribute first, its own channels before others'
        own = relative[attribute] + 2.0 * (owner == attribute)
        for number in own.argsort(descending=True, stable=True).tolist():
            if sum(a == attribute for a, _ in chosen) == LEAST:
                break
            if number not in taken:
                chosen.append((attribute, number))
                taken.add(number)
    for number in order:
        if len(chosen) == VALUES:
            break
        if number not in taken:
            chosen.append((int(owner[number]), number))
            taken.add(number)
    chosen.sort(key=lambda pair: (pair[0], -float(relative[pair])))
    numbers = [number for _, number in chosen]
    return Channels(
        torch.tensor([indices[number] for number in numbers], dtype=torch.int32),
        tuple(attributes[attribute] for attribute, _ in chosen),
        torch.stack([gamma[attribute, number] for attribute, number in chosen]).float(),
        deviation[numbers].float(),
    )


def rates(gamma: Tensor, attributes: Iterable[str]) -> Tensor:
    """Learning rates of channels (eq. 8): what an attribute is most sensitive to moves slowest.

    Args:
        gamma (`torch.Tensor` of shape `(n,)`): Sensitivity of each channel's own attribute.
        attributes (iterable of `str`): What each channel moves.

    Returns:
        `torch.Tensor` of shape `(n,)`: exp(-1.5) for the most sensitive channel of an attribute, 1 for none at all.
    """
    names = list(attributes)
    largest = {name: max(float(g) for g, n in zip(gamma, names, strict=True) if n == name) for name in set(names)}
    share = torch.stack([g / max(largest[n], 1e-12) for g, n in zip(gamma, names, strict=True)])
    return torch.exp(-RATE_FALL * share)


def deviations(styles: Sequence[Tensor], indices: Sequence[tuple[int, int]]) -> Tensor:
    """Standard deviation of channels over people, `(len(indices),)`.

    Args:
        styles (sequence of `torch.Tensor` of shape `(people, channels)`): One a layer.
        indices (sequence of `(layer, channel)`): Channels.
    """
    return torch.stack([styles[layer][:, channel].std() for layer, channel in indices])
