"""Identity codes on disk: one safetensors file with the code, the photo and, if it was tuned, the generator."""

import json
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vivface import models
from vivface.errors import MediaError
from vivface.reenactment.codes import IdentityCode
from vivface.tensor_files import TensorFile

FILE = TensorFile("vivface-identity-1", "an identity file", "give one that `IdentityCode.save` wrote", MediaError)
TENSORS = ("w_plus", "motion", "reference", "memory")
GENERATOR = "generator."


def save_identity(identity: IdentityCode, path: str | os.PathLike) -> Path:
    """Write an identity code; see `IdentityCode.save`."""
    tensors = {name: getattr(identity, name) for name in TENSORS if getattr(identity, name) is not None}
    tensors |= {f"styles.{index}": style for index, style in enumerate(identity.styles)}
    tensors |= {"photo": torch.from_numpy(identity.photo), "quad": torch.from_numpy(np.float64(identity.quad))}
    if identity.points is not None:
        tensors["points"] = torch.from_numpy(np.float64(identity.points))
    metadata = {"fingerprint": json.dumps(identity.fingerprint), "warnings": json.dumps(identity.warnings)}
    if (generator := identity.generator) is not None:
        tensors |= {GENERATOR + name: tensor for name, tensor in generator.state_dict().items()}
        config = {name: value for name, value in generator.config.items() if not name.startswith("_")}
        metadata["generator"] = json.dumps({"class": type(generator).__name__, "config": config})
    return FILE.save(path, tensors, metadata)


def load_identity(path: str | os.PathLike) -> IdentityCode:
    """Read an identity code; see `IdentityCode.load`."""
    return FILE.load(path, _decoded)


def _decoded(tensors: dict[str, Tensor], metadata: dict[str, str]) -> IdentityCode:
    generator = _generator(json.loads(metadata["generator"]), tensors) if "generator" in metadata else None
    count = sum(name.startswith("styles.") for name in tensors)
    return IdentityCode(
        w_plus=tensors["w_plus"],
        styles=[tensors[f"styles.{index}"] for index in range(count)],
        motion=tensors["motion"],
        reference=tensors["reference"],
        photo=_image(tensors["photo"]),
        quad=tensors["quad"].reshape(4, 2).double().numpy(),
        memory=tensors.get("memory"),
        generator=generator,
        points=tensors["points"].reshape(-1, 3).double().numpy() if "points" in tensors else None,
        fingerprint=[float(number) for number in json.loads(metadata["fingerprint"])],
        warnings=[str(text) for text in json.loads(metadata["warnings"])],
    )


def _image(tensor: Tensor) -> np.ndarray:
    if tensor.dtype != torch.uint8 or tensor.ndim != 3 or tensor.shape[-1] != 3:
        raise ValueError("its photo is no image")
    return tensor.numpy()


def _generator(description: dict, tensors: dict[str, Tensor]) -> torch.nn.Module:
    """The tuned generator, of one of the package's own classes."""
    name = description["class"]
    if name not in models.__all__ or not name.endswith("Generator"):
        raise ValueError(f"its generator is a {name}")
    generator = getattr(models, name).from_config(description["config"])
    state = {key.removeprefix(GENERATOR): tensor for key, tensor in tensors.items() if key.startswith(GENERATOR)}
    generator.load_state_dict(state)
    return generator.to(next(tensor.dtype for tensor in state.values() if tensor.is_floating_point())).eval()
