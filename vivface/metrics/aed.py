"""AED: average distance of expression codes of driver and result."""

from vivface.metrics.distances import CodeDistance


class Aed(CodeDistance):
    """Streaming AED: expression codes `(batch, entries)`, 64 of Deep3DFaceRecon (ViVFace, PIRenderer), 50 of DECA
    (HyperReenact) or the stand-in `face_state.expression`."""
