"""Disturbances of identity codes in stage II (ViVFace, sec. "Latent-based augmentation").

The published shares: a third of the samples takes a hair edit, a tenth of what HairCLIP's mapper gives for a hairstyle;
a third an age edit of 1 to 2.5 lengths of a direction, either way; the rest a random shift.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.arguments import Options, option
from vivface.editing.directions import AttributeDirections
from vivface.errors import OptionError
from vivface.models import StyleGAN2Generator
from vivface.models.hair_mapper import HairMapper


class Disturbance(Options):
    """An edit of identity codes: a step along directions of a file, or what a hair mapper gives for a text."""

    file: str = option("", "directions (`vivface convert directions`, find_directions), or the folder of a checkpoint")
    mapper: str = option("", "in place of a file: folder of a HairMapper (`vivface convert hairclip`)")
    texts: str = option("", "with a mapper: text embeddings by name (training.tools.embed_texts)")
    names: list[str] = option([], "one of these is drawn; empty: the disturbance's own name, or all texts")
    share: float = option(1 / 3, "fraction of the samples that it disturbs")
    low: float = option(1.0, "shortest step, in lengths of the direction (of the mapper's step)")
    high: float = option(2.5, "longest step")
    both_ways: bool = option(True, "half of the steps go backward")


class Disturbances:
    """All disturbances of a run, loaded.

    Args:
        options (`dict[str, Disturbance]`): By name.
        random_shift (`float`): Largest norm of the shift of samples that no disturbance takes.
        generator (`StyleGAN2Generator`): Whose identity codes they are for.
        device (`torch.device`): Of the codes.

    Raises:
        OptionError: If a file is missing or fits no code of this generator, or the shares exceed 1.
    """

    def __init__(
        self,
        options: dict[str, Disturbance],
        random_shift: float,
        generator: StyleGAN2Generator,
        device: torch.device | str = "cpu",
    ):
        if (total := sum(each.share for each in options.values())) > 1.0 + 1e-6:
            raise OptionError(f"the shares of options.disturbances add up to {total:.3g}, expected at most 1")
        self.options, self.random_shift, self.device = options, random_shift, torch.device(device)
        self.shape = (generator.num_latents, generator.config.style_dim)
        self.steps = {
            name: (self._texts if each.mapper else self._directions)(f"options.disturbances.{name}", name, each)
            for name, each in options.items()
        }

    def __call__(self, codes: Tensor) -> Tensor:
        """A disturbance for each code.

        Authors' code draws the random shift around a common direction, normalize(randn + 1); here every direction is as
        likely as any other.

        Args:
            codes (`torch.Tensor` of shape `(batch, num_latents, style_dim)`): Identity codes.

        Returns:
            `torch.Tensor` of the shape of `codes`: What to add to them.
        """
        return torch.stack([self._one(code) for code in codes])

    def _one(self, code: Tensor) -> Tensor:
        draw = float(torch.rand(()))
        for name, each in self.options.items():
            if draw < each.share:
                steps = self.steps[name]
                step = steps[int(torch.randint(len(steps), ()))](code)
                length = each.low + (each.high - each.low) * float(torch.rand(()))
                return step * (-length if each.both_ways and float(torch.rand(())) < 0.5 else length)
            draw -= each.share
        way = F.normalize(torch.randn(1, self.shape[1]), dim=1).to(code)
        return (way * (float(torch.rand(())) * self.random_shift)).expand(self.shape[0], -1)

    def _directions(self, place: str, name: str, each: Disturbance) -> list:
        path = Path(each.file)
        if each.texts:
            raise OptionError(f"{place}.texts is for a hair mapper, give {place}.mapper too")
        if not path.exists():
            raise OptionError(f"{place}.file is {each.file!r}, which does not exist: give a file of directions")
        found = AttributeDirections.of_checkpoint(path) if path.is_dir() else AttributeDirections.load(path)
        known = {direction.name: direction.vector for direction in found.of("w_plus")}
        vectors = []
        for wanted in each.names or [name]:
            if wanted not in known:
                raise OptionError(f"{each.file} has no direction {wanted!r} in W+, expected one of: {', '.join(known)}")
            if tuple(known[wanted].shape) != self.shape:
                raise OptionError(
                    f"{wanted!r} of {each.file} has shape {tuple(known[wanted].shape)}, expected {self.shape}, that of "
                    "the generator's identity codes"
                )
            vectors.append(known[wanted].float().to(self.device))
        return [lambda code, vector=vector: vector for vector in vectors]

    def _texts(self, place: str, name: str, each: Disturbance) -> list:
        if each.file:
            raise OptionError(f"{place} has both a file and a mapper, give one of them")
        if not Path(each.mapper).is_dir():
            raise OptionError(f"{place}.mapper is {each.mapper!r}, no folder: `vivface convert hairclip` makes one")
        mapper = HairMapper.from_pretrained(each.mapper).eval().requires_grad_(False).to(self.device)
        if (mapper.num_latents, mapper.config.style_dim) != self.shape:
            raise OptionError(
                f"{place}.mapper is for codes of {mapper.num_latents} x {mapper.config.style_dim}, expected "
                f"{self.shape[0]} x {self.shape[1]}, those of the generator"
            )
        texts = read_texts(each.texts, f"{place}.texts")
        if missing := [text for text in each.names if text not in texts]:
            raise OptionError(f"{each.texts} has no text {missing[0]!r}, it has: {', '.join(texts)}")
        chosen = [texts[text].to(self.device) for text in each.names or texts]
        if chosen[0].shape != (mapper.config.text_dim,):
            raise OptionError(
                f"{each.texts} holds embeddings of shape {tuple(chosen[0].shape)}, expected ({mapper.config.text_dim},)"
            )

        @torch.no_grad()
        def step(code: Tensor, text: Tensor) -> Tensor:
            return mapper(code[None].float(), text[None])[0]

        return [lambda code, text=text: step(code, text) for text in chosen]


def read_texts(path: str, place: str) -> dict[str, Tensor]:
    """Text embeddings by name.

    Args:
        path (`str`): A file of `training.tools.embed_texts`.
        place (`str`): Name of the option, for messages.

    Raises:
        OptionError: If it is missing or holds none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            texts = {name: file.get_tensor(name).float() for name in sorted(file.keys())}
    except (SafetensorError, OSError) as error:
        raise OptionError(f"{place} is {path!r}, which cannot be read ({error}): embed texts first") from error
    if not texts or len({text.shape for text in texts.values()}) > 1:
        raise OptionError(f"{place} is {path!r}, which holds no embeddings of one length: embed texts again")
    return texts
