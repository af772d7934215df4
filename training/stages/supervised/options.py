"""Settings of the supervised stage."""

from __future__ import annotations

from training.arguments import Options, option


class SupervisedOptions(Options):
    """Settings of the supervised stage. Fields named like a term in `terms.TERMS` are its weight; 0 leaves it out."""

    # Batches.
    groups_per_step: int = option(4, "grids (groups of identities) per step: identities matter more than motions")
    coarse_size: int = option(64, "size of the images that every pair is trained at, pixels, at least 64")
    full_size_identities: int = option(
        2, "identities per step, drawn at random, whose images are also made at full size"
    )
    full_size_from: float = option(0.2, "fraction of the run after which pairs are made at full size")
    refine_from: float = option(0.2, "fraction of the run after which the refinement network is trained too")
    freeze_batch_norm_from: float = option(0.85, "fraction of the run after which batch-norm statistics are frozen")
    bn_recalibration_batches: int = option(16, "batches over which batch-norm statistics of a checkpoint are measured")

    # Pixel weights.
    regions: dict[str, float] = option(
        {"face": 1.0, "eyes": 4.0, "brows": 1.0, "mouth": 3.0}, "additional weight of a region's pixels"
    )
    contrast: float = option(0.0, "how far faces of low contrast weigh more: 1 gives all the same contrast")
    edges: float = option(1.0, "weight of the edge term inside the pixel terms")

    # Terms on images.
    coarse: float = option(1.0, "weight of the pixel term at coarse size")
    motion: float = option(0.5, "weight of the error in the differences between an identity's coarse images")
    pixels: float = option(0.5, "weight of the pixel term of the stage I image at full size")
    refined: float = option(1.0, "weight of the pixel term of the refined image")
    motion_refined: float = option(0.0, "weight of the motion term of the refined images")
    aligned: float = option(0.3, "weight of the aligned reference's L1 distance to the target")
    encoder_features: float = option(0.0, "weight of the distance in feature maps of networks.frozen_encoder")
    encoder_codes: float = option(0.0, "weight of the distance of the codes that this encoder finds")
    identity: float = option(0.0, "weight of 1 - cosine of the embeddings of output and target (networks.recognizer)")
    perceptual: float = option(0.0, "weight of the distance of that network's feature maps, in the face crop")

    # Terms on codes.
    motion_codes: float = option(0.5, "weight of the motion codes' squared error, as a fraction of their variance")
    controls: float = option(1.0, "weight of the squared error of the controls decoded from the codes, in variances")
    angles: float = option(0.5, "the same for yaw and pitch")
    identity_codes: float = option(0.5, "weight of the identity codes' squared error, as a fraction of their variance")
    identity_codes_until: float = option(0.3, "fraction of the run over which that weight falls to 0")
    motion_norm: float = option(2e-4, "weight of the mean square of the generic motion codes")
    latent_delta: float = option(1e-3, "weight of the mean square of the identity code's differences between layers")

    # Codes and learning rates.
    teacher_forcing: float = option(0.5, "fraction of the grids that codes made of the labels drive, not the encoder's")
    teacher_forcing_until: float = option(0.6, "fraction of the run after which the encoder's codes drive everywhere")
    label_batches: int = option(16, "batches over which mean and std of the labels are measured at the start")
    head_gain: float = option(10.0, "factor on a fresh encoder's last linear maps: codes of full size from the start")
    encoder_lr: float = option(0.5, "learning rate of the encoder as a multiple of the optimiser's")
    motion_labels_lr: float = option(0.1, "the same for the map from labels to motion codes")
    refinement_lr: float = option(1.0, "learning rate of the refinement network as a multiple of the optimiser's")
    transformer_lr: float = option(0.2, "learning rate of the transformer as a multiple of the optimiser's")
