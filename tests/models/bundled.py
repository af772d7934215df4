"""The networks that come with the package, and an image for them."""

from pathlib import Path

import numpy as np
import torch
from diffusers import ModelMixin
from PIL import Image

from vivface.models import (
    DeformationTransformer,
    HybridEncoder,
    IdentityNetwork,
    RefinementNetwork,
    StyleGAN2Generator,
)
from vivface.models.refinement import generate_refined

REPOSITORY = Path(__file__).parents[2]
CHECKPOINT = REPOSITORY / "vivface" / "bundled"
CLASSES = {
    "encoder": HybridEncoder,
    "transformer": DeformationTransformer,
    "generator": StyleGAN2Generator,
    "refinement": RefinementNetwork,
    "recognizer": IdentityNetwork,
}


def load_bundled(dtype: torch.dtype | None = None) -> dict[str, ModelMixin]:
    """Every network of the bundled checkpoint, in evaluation mode and without gradients."""
    return {
        name: network.from_pretrained(CHECKPOINT, subfolder=name, torch_dtype=dtype).requires_grad_(False)
        for name, network in CLASSES.items()
    }


def load_face(side: int) -> torch.Tensor:
    """The example portrait as `(1, 3, side, side)` in [-1, 1]."""
    image = Image.open(REPOSITORY / "examples" / "portrait.png").convert("RGB").resize((side, side))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 127.5 - 1


def reenact(networks: dict[str, ModelMixin], face: torch.Tensor) -> dict[str, torch.Tensor]:
    """A face moved by its mirror image, through all five networks: stage I and refined image, and their embedding."""
    face = face.to(networks["encoder"].dtype)
    source = networks["encoder"](face)
    driving = networks["encoder"](face.flip(3), identity=False, memory=False)
    motion = networks["transformer"](driving.motion, source.memory)
    generator = networks["generator"]
    styles = generator.add_motion(generator.to_stylespace(source.identity), motion)
    stage1, refined = generate_refined(generator, networks["refinement"], styles, face)
    return {"stage1": stage1, "refined": refined, "embedding": networks["recognizer"].embed(refined)}
