"""Rescale motion codes to full motion: `python -m training.tools.calibrate RUN/checkpoint --folders data/people`.

Regression shrinks predictions toward the mean: mouths of a trained checkpoint open half as far as those of the driving
video. This program measures on synthetic people how far every control moves in results, relative to targets, and
changes the last linear maps of the encoder's motion heads so that codes move by the inverse; see
`training.calibration`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.arguments import AugmentOptions, DataOptions
from training.calibration import decode_results, measure_gains, motion_factors, scale_motion, visible_controls
from training.data import GridBatches
from training.ground_truth import MotionLabelEncoder
from training.tools.programs import add_device, add_people, load_networks, program_parser, replace_network, run_program
from vivface.errors import OptionError
from vivface.models import DeformationTransformer, HybridEncoder, RefinementNetwork, StyleGAN2Generator
from vivface.runtime import choose_device

ANGLE_NAMES = ("yaw", "pitch")
NETWORKS = {
    "encoder": HybridEncoder,
    "transformer": DeformationTransformer,
    "generator": StyleGAN2Generator,
    "refinement": RefinementNetwork,
    "motion_labels": MotionLabelEncoder,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure gains and rewrite the encoder of a checkpoint.

    Args:
        arguments (`list[str]`, *optional*): Command line; that of the process by default.

    Raises:
        OptionError: If an option is wrong or there are no people.
        CheckpointError: If the checkpoint lacks a network.
    """
    options = parse_arguments(arguments)
    device = choose_device(options.device)

    # 1. Controls in results and in targets.
    networks = load_networks(NETWORKS, options.checkpoint, device)
    encoder, label_encoder = networks["encoder"], networks["motion_labels"]
    data = open_data(options.folders, encoder.config.image_size, options.seed)
    decoded, frames = decode_results(networks, data, options.batches, device)

    # 2. Factors.
    gains = measure_gains(decoded)
    factors = motion_factors(gains, visible_controls(decoded, options.visible), options.limit)
    for name, gain, factor in zip((*data.shards.control_names, *ANGLE_NAMES), gains, factors, strict=True):
        if factor > 1:
            print(f"{name:16s} gain {gain:5.2f}  factor {factor:4.2f}")

    # 3. Heads with codes of that size.
    share = scale_motion(encoder, label_encoder, frames, factors)
    print(f"the heads' features explain {100 * share:.0f} % of the change")
    replace_network(encoder, options.checkpoint, "encoder")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Options of the command line.

    Raises:
        OptionError: If a number is out of range.
    """
    parser = program_parser("calibrate", __doc__)
    parser.add_argument("checkpoint", type=Path, help="folder of a supervised run; its encoder is rewritten")
    add_people(parser)
    parser.add_argument("--batches", type=int, default=100, help="groups of people to measure on")
    parser.add_argument("--limit", type=float, default=2.0, help="largest factor of a control")
    parser.add_argument("--visible", type=float, default=0.25, help="least slope of decoded controls on the labels")
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    options = parser.parse_args(arguments)
    if options.batches < 2 or options.limit < 1:
        raise OptionError(f"--batches is {options.batches} and --limit {options.limit}, expected at least 2 and 1.")
    return options


def open_data(folders: list[str], size: int, seed: int) -> GridBatches:
    """Grids of two identities and eight motions, augmented a little, in the pipeline's stable crop."""
    augment = AugmentOptions(
        appearance=0.3,
        driving_appearance=0.5,
        degrade_source=0.0,
        degrade_driving=0.2,
        source_jitter=0.005,
        driving_center=0.008,
        driving_scale=0.008,
        driving_rotation=0.5,
    )
    options = DataOptions(
        folders=folders, size=size, identities=2, motions=8, crop="stable", source_candidates=2, augment=augment
    )
    return GridBatches(options, seed)


if __name__ == "__main__":
    run_program(main)
