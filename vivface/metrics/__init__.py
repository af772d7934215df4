"""Metrics of face re-enactment: each a function of tensors and a streaming class with `update` and `compute`.

Images are RGB in [-1, 1]. Nothing here keeps frames: a long video costs no more memory than a short one. A value that
was computed with another network than the papers' carries another name, see `vivface.metrics.judges`.
"""
