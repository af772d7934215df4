"""Distances of codes: the base of AED and APD."""

from torch import Tensor

from vivface.metrics.average import Average


def code_distance(code: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the entries of codes `(batch, entries)`: `(batch,)`.

    Papers differ in whether they sum or average entries; here they are averaged.
    """
    if code.shape != target.shape or code.ndim != 2:
        raise ValueError(
            f"`code` and `target` have shapes {tuple(code.shape)} and {tuple(target.shape)}; expected (batch, entries)."
        )
    return (code.double() - target.double()).abs().mean(dim=1)


class CodeDistance(Average):
    """Streaming `code_distance`."""

    def update(self, code: Tensor, target: Tensor) -> Tensor:
        """Take codes in; returns their distances `(batch,)`."""
        return self.add(code_distance(code, target))
