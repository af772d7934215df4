"""A tiny codec, and bases for it."""

import torch

from tests.tiny import make_tiny_pipeline
from vivface.editing.codec_basis import ATTRIBUTES, Channels, Components
from vivface.editing.stylespace import candidates
from vivface.pipelines.codec import ExpressiveCodecPipeline


def make_components(seed: int = 0, codes: int = 10, dim: int = 32) -> Components:
    """Random orthogonal components whose readers are their inverse."""
    random = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(codes * dim, 39, generator=random))[0].T  # orthonormal rows
    pose, vectors = torch.zeros(5, codes * dim), 0.5 * basis[5:37]
    pose[:2] = basis[:2]
    parts = dict(
        origin=0.1 * torch.randn(codes * dim, generator=random),
        pose=pose,
        vectors=vectors,
        read_pose=basis[:2],
        read_values=basis[5:37] / 0.5,
    )
    return Components(**{name: part.reshape(*part.shape[:-1], codes, dim) for name, part in parts.items()})


def make_channels(generator, seed: int = 0) -> Channels:
    """Every so manieth channel, each with an attribute in turn."""
    indices = candidates(generator)
    chosen = indices[:: len(indices) // 32][:32]
    names = tuple(ATTRIBUTES[number % len(ATTRIBUTES)] for number in range(32))
    gamma = torch.rand(32, generator=torch.Generator().manual_seed(seed))
    return Channels(torch.tensor(chosen, dtype=torch.int32), names, gamma, torch.full((32,), 0.1))


def make_tiny_codec(seed: int = 0, **settings) -> ExpressiveCodecPipeline:
    """An `ExpressiveCodecPipeline` with random weights and both bases; the same for the same seed."""
    donor = make_tiny_pipeline(refinement=False, recognizer=True, seed=seed)
    options = dict(image_size=64, basis="components") | settings
    pipeline = ExpressiveCodecPipeline(donor.generator, donor.encoder, donor.transformer, donor.recognizer, **options)
    pipeline.channels, pipeline.components_basis = make_channels(donor.generator), make_components()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
