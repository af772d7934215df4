"""APD: average distance of head poses of driver and result."""

from vivface.metrics.distances import CodeDistance


class Apd(CodeDistance):
    """Streaming APD: three angles `(batch, 3)`, radians of Deep3DFaceRecon or degrees of `face_state.pose`."""
