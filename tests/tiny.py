"""A pipeline of the real architecture that is small enough for tests."""

import torch

from vivface.editing.local_channels import LocalChannels
from vivface.models.encoder import HybridEncoder
from vivface.models.face_state import FaceStateNetwork
from vivface.models.hypernetwork import ReenactmentHypernetwork
from vivface.models.identity import IdentityNetwork
from vivface.models.pose_encoder import PoseEncoder
from vivface.models.refinement import RefinementNetwork
from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.models.stylegan3 import StyleGAN3Generator
from vivface.models.transformer import DeformationTransformer
from vivface.pipelines.hybrid import HybridLatentPipeline
from vivface.pipelines.hyperreenact import HyperReenactPipeline
from vivface.pipelines.video2stylegan import Video2StyleGANPipeline
from vivface.pipelines.vivface import VivFacePipeline
from vivface.reenactment.pose_matching import PoseDirections


def make_tiny_pipeline(
    size: int = 64, crop: str = "stable", refinement: bool = True, seed: int = 0, recognizer: bool = False
):
    """A `VivFacePipeline` of the real architecture, slim and with random weights; the same for the same seed."""

    blocks = size.bit_length() - 3  # 64 -> 4
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = StyleGAN2Generator(
            size=size, style_dim=32, mapping_layers=2, channels=[32] * (blocks + 1), motion_codes=10
        )
        encoder = HybridEncoder(
            image_size=64,
            widths=(8, 8, 16, 16, 32),
            units=(1, 1, 1, 1),
            num_latents=generator.num_latents,
            style_dim=32,
            shared_heads=True,
        )
        transformer = DeformationTransformer(style_dim=32, layers=1, heads=2, feed_forward=32)
        network = None
        if refinement:
            network = RefinementNetwork(
                image_size=64, feature_channels=32, aligner_widths=(4, 4, 4, 4), modulator_widths=(4, 4), hidden=4
            )
            for layer in (network.modulator.scale2, network.modulator.shift2):
                torch.nn.init.normal_(layer.weight)  # they start at zero, and R would change nothing
        knows = IdentityNetwork((4, 4, 8, 8, 16), (1, 1, 1, 1), embedding_dim=16, image_size=48) if recognizer else None
    return VivFacePipeline(generator, encoder, transformer, network, knows, image_size=64, crop=crop)


def make_tiny_hybrid(**settings) -> HybridLatentPipeline:
    """A `HybridLatentPipeline` of the networks of `make_tiny_pipeline`."""
    donor = make_tiny_pipeline(recognizer=True)
    options = dict(image_size=64, crop="stable") | settings
    pipeline = HybridLatentPipeline(donor.generator, donor.encoder, donor.recognizer, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_tiny_hyperreenact(seed: int = 0, **settings) -> HyperReenactPipeline:
    """A `HyperReenactPipeline` of the real architecture, slim and with random weights; the same for the same seed."""
    channels = (16, 16, 16, 12, 8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = StyleGAN2Generator(size=64, style_dim=16, mapping_layers=2, channels=list(channels))
        inversion = HybridEncoder(64, (8, 8, 8, 16, 16), (1, 1, 1, 1), num_latents=10, motion_codes=0, style_dim=16)
        appearance = IdentityNetwork((4, 4, 8, 8, 12), (1, 1, 1, 1), embedding_dim=16, image_size=48)
        pose = PoseEncoder(image_size=96, width=4, units=(1, 1, 1, 1))
        hypernetwork = ReenactmentHypernetwork(12, 128, 16, 3, channels, shared_width=8, specific_width=8)
        for modulation in (hypernetwork.pose_modulation, hypernetwork.appearance_modulation):
            for parameter in modulation.parameters():
                torch.nn.init.normal_(parameter, std=0.5)  # they start close to zero, and no pose would be seen
    return HyperReenactPipeline(generator, inversion, appearance, pose, hypernetwork, **{"image_size": 64, **settings})


def make_tiny_video2stylegan(seed: int = 0, **settings) -> Video2StyleGANPipeline:
    """A `Video2StyleGANPipeline` of the real architecture, slim and with random weights; the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = StyleGAN3Generator(size=32, style_dim=16, channels=[8] * 14)
        inversion = HybridEncoder(32, (8, 8, 8, 8, 16), (1, 1, 1, 1), 16, 0, 16, shared_heads=True)
        pose = FaceStateNetwork(32, (8, 8, 8, 8, 8), (1, 1, 1, 1), join=8)
        channels = {"eyes": [[4, 1], [9, 0]], "mouth": [[5, 2], [11, 3]]}
        directions = PoseDirections(0.01 * torch.randn(3, 8, 16))
    options = dict(image_size=32, pose_steps=2) | settings
    pipeline = Video2StyleGANPipeline(generator, inversion, pose, **options)
    pipeline.local_channels = LocalChannels({k: torch.tensor(v, dtype=torch.int32) for k, v in channels.items()})
    pipeline.pose_directions = directions
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_tiny_hypernetwork(seed: int = 0) -> ReenactmentHypernetwork:
    """A `ReenactmentHypernetwork` for the networks of `make_tiny_pipeline(recognizer=True)`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ReenactmentHypernetwork(16, 320, 12, 3, (32,) * 5, shared_width=8, specific_width=8)
        for modulation in (network.pose_modulation, network.appearance_modulation):
            for parameter in modulation.parameters():
                torch.nn.init.normal_(parameter, std=0.5)
    return network
