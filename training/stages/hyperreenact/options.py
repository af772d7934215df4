"""Settings of the HyperReenact stage; the defaults are the published ones."""

from __future__ import annotations

from typing import Literal

from training.arguments import Options, option


class HyperReenactOptions(Options):
    """Phase, weights of the terms, and what judges shape and gaze."""

    phase: Literal["start", "inversion", "self", "cross"] = option(
        "inversion",
        "'inversion' (source = target), 'self' (two frames of a person) or 'cross' (a part is driven by another "
        "person); each goes on from the checkpoint of the one before. 'start' (ours): offsets do to the weights what "
        "networks.transformer of a ViVFace checkpoint does to the styles; no image is made",
    )
    fit_batches: int = option(24, "phase start: batches that a fresh hypernetwork is fitted to before its first step")
    pairings: int = option(8, "phase start: how many drivers every source of a batch gets")
    cross_share: float = option(0.5, "phase cross: share of a batch that another person drives")
    truth: bool = option(
        False,
        "shards: a pair that another person drives is compared with the render of what it has to show, so pixels, "
        "features and gaze count there too (ours, not the paper's)",
    )
    regions: dict[str, float] = option(
        {}, "with truth: weight that pixels of the goal's face, eyes, brows and mouth gain over the rest (1; ours)"
    )
    truncation: float = option(0.7, "how far codes of sources go from the mean latent, as in use")

    perceptual: Literal["lpips-alex", "recognizer-features", "face-features"] = option(
        "lpips-alex",
        "'lpips-alex' (needs its weights), 'recognizer-features' (networks.recognizer), or 'face-features': the same "
        "in the crop that it reads faces in, at a seventh of the cost",
    )
    shape_estimator: str = option(
        "face-state",
        "shape of faces: 'face-state' (networks.face_state, else the network that comes with vivface) or a folder that "
        "holds DECA's deca_model.tar",
    )
    gaze_estimator: str = option(
        "face-state", "direction of gaze: 'face-state', or ETH-XGaze's file (epoch_24_ckpt.pth.tar)"
    )

    pixel: float = option(10.0, "weight of the mean absolute difference of pixels")
    features: float = option(5.0, "weight of the perceptual distance")
    identity: float = option(10.0, "weight of 1 - cosine of embeddings")
    gaze: float = option(2.0, "weight of the distance of gaze directions")
    shape: float = option(0.5, "weight of the difference of shapes; not in phase inversion")

    coarse_size: int = option(
        0, "size at which pairs are made that are not made at full size, a power of two; 0: all are at full size"
    )
    full_size: float = option(0.25, "with coarse_size: share of a batch that is made at full size")
