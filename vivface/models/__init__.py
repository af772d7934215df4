"""The networks: each a diffusers model whose typed constructor is its config."""

from vivface.models.dense_motion import DenseMotionNetwork, DenseMotionOutput
from vivface.models.discriminator import LatentDiscriminator, StyleGAN2Discriminator
from vivface.models.encoder import HybridEncoder, HybridEncoderOutput
from vivface.models.face_state import FaceStateNetwork, FaceStateOutput
from vivface.models.hair_mapper import HairMapper
from vivface.models.hypernetwork import ReenactmentHypernetwork
from vivface.models.identity import IdentityNetwork
from vivface.models.pose_encoder import PoseEncoder
from vivface.models.refinement import RefinementNetwork, RefinementOutput
from vivface.models.styleflow import StyleFlow
from vivface.models.stylegan2 import StyleGAN2Generator, SynthesisState
from vivface.models.stylegan3 import StyleGAN3Generator
from vivface.models.transformer import DeformationTransformer

__all__ = [
    "DeformationTransformer",
    "DenseMotionNetwork",
    "DenseMotionOutput",
    "HairMapper",
    "FaceStateNetwork",
    "FaceStateOutput",
    "HybridEncoder",
    "HybridEncoderOutput",
    "IdentityNetwork",
    "LatentDiscriminator",
    "PoseEncoder",
    "ReenactmentHypernetwork",
    "RefinementNetwork",
    "RefinementOutput",
    "StyleFlow",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "StyleGAN3Generator",
    "SynthesisState",
]
