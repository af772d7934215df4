"""What the stages do with networks: build them, make them larger, freeze them, and reenact with them."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vivface.errors import OptionError
from vivface.models import HybridEncoder, IdentityNetwork
from vivface.models.layers.residual import ResidualUnit
from vivface.models.stylegan2 import SynthesisState

# Building -------------------------------------------------------------------------------------------------------------


def build_network(network_class: type[nn.Module], arguments: Mapping[str, Any], name: str) -> nn.Module:
    """Build a network from constructor arguments, or load it from `{pretrained: folder, subfolder: name}`.

    With `expand: {argument: value}` a loaded network becomes a larger one that computes the same (`net2net_expand`).
    With `trunk: {pretrained: folder, subfolder: name}` beside constructor arguments an encoder starts from the trunk of
    an identity network, as the published one does.

    Args:
        network_class (`type`): A diffusers `ModelMixin`.
        arguments (mapping): `networks.<name>` of a preset.
        name (`str`): Of the network, for messages.

    Returns:
        `nn.Module`: An instance of `network_class`.

    Raises:
        OptionError: If an argument is not one of the constructor's, the folder does not exist, or the network cannot
            be expanded like this.
    """
    arguments = dict(arguments)
    if "pretrained" in arguments:
        folder, subfolder = Path(arguments.pop("pretrained")), arguments.pop("subfolder", None)
        expansion = arguments.pop("expand", {})
        place = folder / subfolder if subfolder else folder
        if not place.is_dir():
            raise OptionError(f"networks.{name}.pretrained is {place}, which is no folder: give a saved {name}")
        if arguments:
            raise OptionError(f"networks.{name} has {sorted(arguments)[0]!r} beside 'pretrained': the folder decides")
        network = network_class.from_pretrained(place)
        return net2net_expand(network, **expansion) if expansion else network
    trunk = arguments.pop("trunk", None)
    known = [n for n in inspect.signature(network_class.__init__).parameters if n != "self"]
    if unknown := [key for key in arguments if key not in known]:
        raise OptionError(f"networks.{name} has no option {unknown[0]!r}, expected one of: {', '.join(known)}")
    network = network_class(**arguments)
    if trunk is not None:
        copy_trunk(network, build_network(IdentityNetwork, trunk, f"{name}.trunk"), name)
    return network


def copy_trunk(network: nn.Module, recognizer: IdentityNetwork, name: str) -> None:
    """Start a network's trunk from that of an identity network.

    Args:
        network (`nn.Module`): Has a `trunk`; changed in place.
        recognizer (`IdentityNetwork`): Gives weights and statistics.
        name (`str`): Of the network, for messages.

    Raises:
        OptionError: If there is no trunk, or it has another shape.
    """
    if not hasattr(network, "trunk"):
        raise OptionError(f"networks.{name}.trunk is given, but a {type(network).__name__} has no trunk: leave it out")
    try:
        network.trunk.load_state_dict(recognizer.trunk.state_dict())
    except RuntimeError:
        ours, theirs = network.config, recognizer.config
        raise OptionError(
            f"networks.{name}.trunk has widths {list(theirs.widths)} and units {list(theirs.units)}, expected "
            f"{list(ours.widths)} and {list(ours.units)}, those of the {name}"
        ) from None


@torch.no_grad()
def scale_heads(encoder: HybridEncoder, gain: float) -> None:
    """Scale the last linear maps of a fresh encoder, and so its codes: small codes teach a fresh generator little.

    Args:
        encoder (`HybridEncoder`): Changed in place.
        gain (`float`): Factor on the weights.
    """
    for heads in (encoder.identity_heads, encoder.motion_heads):
        for head in heads.heads:
            for linear in head.linears:
                linear.weight.mul_(gain)


def net2net_expand(network: nn.Module, **sizes: Any) -> nn.Module:
    """A larger network that computes the same (Chen et al., Net2Net, ICLR 2016, with fresh channels, not copied ones).

    New channels and residual units read the old features, and contribute nothing until training gives them weight.

    Args:
        network (`ModelMixin`): Made of residual units, convolutions and layers that keep their size.
        sizes: Arguments of its constructor that change, for example `widths` and `units` of a `HybridEncoder`.

    Returns:
        `ModelMixin`: Of the same class; its state has the old one's in the first channels and units.

    Raises:
        OptionError: If an argument is unknown, or the network would become smaller or compute something else.
    """
    config = {name: value for name, value in network.config.items() if not name.startswith("_")}
    if unknown := [name for name in sizes if name not in config]:
        raise OptionError(f"expand has {unknown[0]!r}, expected one of: {', '.join(config)}")
    try:
        larger = type(network)(**{**config, **sizes})
    except ValueError as error:
        raise OptionError(f"expand: {error}") from None
    state, old = larger.state_dict(), network.state_dict()
    for name in old:
        if name not in state or not _holds(state[name], old[name]):
            raise OptionError(f"expand: {name} of the old network does not fit into the new one, expected a larger one")
    units = {name: unit for name, unit in larger.named_modules() if isinstance(unit, ResidualUnit)}
    for name, unit in units.items():
        passes = unit.shortcut is None and unit.stride == 1
        if f"{name}.conv1.weight" not in old and not passes:
            raise OptionError(f"expand: {name} would not pass its input on, expected new units behind the old ones")
        if unit.shortcut is not None and f"{name}.shortcut.0.weight" not in old:
            raise OptionError(f"expand: {name} would get a shortcut of its own, expected widths that stay equal there")
    with torch.no_grad():
        for name, value in old.items():
            _set_into(state[name], value)
        for name, unit in units.items():
            if f"{name}.conv1.weight" not in old:
                unit.norm2.weight.zero_()
    return larger.train(network.training)


def _holds(larger: Tensor, smaller: Tensor) -> bool:
    return larger.ndim == smaller.ndim and all(a >= b for a, b in zip(larger.shape, smaller.shape, strict=True))


def _set_into(larger: Tensor, smaller: Tensor) -> None:
    """Write a weight (outputs, inputs, ...) or vector into the first entries; old outputs read no new inputs."""
    if larger.ndim > 1:
        larger[: smaller.shape[0]] = 0
    larger[tuple(slice(n) for n in smaller.shape)] = smaller


# Freezing -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within the block no weight of `networks` requires a gradient (gradients still flow through them)."""
    changed = [p for network in networks for p in network.parameters() if p.requires_grad]
    for p in changed:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in changed:
            p.requires_grad_(True)


def batch_norms(*networks: nn.Module) -> list[nn.Module]:
    """All batch normalisations in some networks."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return [module for network in networks for module in network.modules() if isinstance(module, kinds)]


def freeze_batch_norm(*networks: nn.Module) -> None:
    """Use the running statistics of every batch normalisation, and no longer change them."""
    for norm in batch_norms(*networks):
        norm.eval()


# Reenacting -----------------------------------------------------------------------------------------------------------


@dataclass
class Reenactment:
    """Images of sources doing motions. Pairs are ordered source by source, motions running fastest.

    Attributes:
        small (`torch.Tensor` of shape `(pairs, 3, small, small)`, *optional*): From the generator's colour skip.
        image (`torch.Tensor` of shape `(rendered, 3, size, size)`, *optional*): Stage I image of the rendered pairs.
        refined (`torch.Tensor` of shape `(rendered, 3, size, size)`, *optional*): Stage II image.
        aligned (`torch.Tensor` of shape `(rendered, 3, side, side)`, *optional*): The reference in the image's pose.
    """

    small: Tensor | None = None
    image: Tensor | None = None
    refined: Tensor | None = None
    aligned: Tensor | None = None

    @property
    def best(self) -> Tensor:
        """The refined image if there is one, else the stage I image."""
        return self.image if self.refined is None else self.refined


def reenact(
    networks: Mapping[str, nn.Module],
    identity: Tensor,
    memory: Tensor | None,
    motion: Tensor | None,
    *,
    reference: Tensor | None = None,
    small_layer: str | None = None,
    rendered: Tensor | slice | None = slice(None),
    noise: str = "fixed",
) -> Reenactment:
    """G(A(W) + T(S, memory)) of every source with each of its motions, and R on it (ViVFace, stages I and II).

    Args:
        networks (mapping): `generator` and, for `reference`, `refinement`; without a `transformer` motion codes are
            added as they are (hybrid latent spaces, eq. 3).
        identity (`torch.Tensor` of shape `(sources, num_latents, style_dim)`): Identity codes W+.
        memory (`torch.Tensor` of shape `(sources or 1, tokens, style_dim)`, *optional*): The encoder's feature maps of
            the sources, for the transformer.
        motion (`torch.Tensor` of shape `(sources * motions, motion_codes, style_dim)`, *optional*): Generic motion
            codes, motions running fastest; None for A(W) alone.
        reference (`torch.Tensor` of shape `(sources, 3, side, side)`, *optional*): Sources in [-1, 1]; images are
            refined with them.
        small_layer (`str`, *optional*): To-RGB layer whose small image every pair is wanted of.
        rendered (index of pairs, *optional*, defaults to all): Pairs that are generated at full size; None for none.
        noise (`str`, *optional*, defaults to `"fixed"`): `"fixed"` or `"random"`: the generator's noise maps.

    Returns:
        `Reenactment`: RGB, about [-1, 1], not clamped.
    """
    generator = networks["generator"]
    styles, motions = generator.to_stylespace(identity), 1
    if motion is not None:
        motions = len(motion) // len(identity)
        styles = [style.repeat_interleave(motions, 0) for style in styles]
        if "transformer" in networks:
            memory = memory.repeat_interleave(motions, 0) if len(memory) > 1 else memory
            motion = networks["transformer"](motion, memory)
        styles = generator.add_motion(styles, motion)

    result, start, state = Reenactment(), None, None
    if reference is not None:
        start = state = generator(styles=styles, stop_after=generator.refinement_layer, noise=noise)
    if small_layer is not None:
        state = generator(styles=styles, resume=state, stop_after=small_layer, noise=noise)
        result.small = state.rgb
    if rendered is None:
        return result
    styles = [style[rendered] for style in styles]
    result.image = generator(styles=styles, resume=state and take(state, rendered), noise=noise)
    if reference is not None:
        refinement, start = networks["refinement"], take(start, rendered)
        changes = refinement(result.image, reference.repeat_interleave(motions, 0)[rendered])
        start = replace(start, feature=refinement.fuse(start.feature, changes.scale, changes.shift))
        result.refined, result.aligned = generator(styles=styles, resume=start, noise=noise), changes.aligned
    return result


def take(state: SynthesisState, pairs: Tensor | slice) -> SynthesisState:
    """The rows of a synthesis state that belong to some pairs."""
    rgb = None if state.rgb is None else state.rgb[pairs]
    return replace(state, feature=state.feature[pairs], rgb=rgb)
