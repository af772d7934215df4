"""Checkpoints in the published layouts, and the arrays of the reference implementations."""

from tests.parity.conftest import checkpoint, golden, images, parity_dir, weights_rule

__all__ = ["checkpoint", "golden", "images", "parity_dir", "weights_rule"]
