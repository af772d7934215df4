"""Error correction of the number that a mark carries: CRC-16, convolutional code, soft decisions.

The 32 bits of an identifier and their CRC-16/CCITT (polynomial 0x1021, first value 0xffff) pass through the
convolutional code of rate 1/3 and constraint length 7 with the generators 133, 171, 165 (octal); six zeros end it.
The decoder is Viterbi's, on real numbers: the larger a number, the surer its sign.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

IDENTIFIER_BITS = 32
CHECK_BITS = 16
_MEMORY = 6
_GENERATORS = (0o133, 0o171, 0o165)
_STATES = 1 << _MEMORY
STEPS = IDENTIFIER_BITS + CHECK_BITS + _MEMORY
CODED_BITS = STEPS * len(_GENERATORS)


def encode(identifier: int) -> np.ndarray:
    """The signs that carry an identifier.

    Args:
        identifier (`int`): 0 to 2 ** 32 - 1.

    Returns:
        `numpy.ndarray` of shape `(CODED_BITS,)`, float32: -1 for a bit that is 1, else 1.

    Raises:
        ValueError: If `identifier` is out of range.
    """
    if not 0 <= identifier < 1 << IDENTIFIER_BITS:
        raise ValueError(f"`identifier` is {identifier}; expected 0 to 2 ** 32 - 1.")
    word = identifier << CHECK_BITS | _check(identifier)
    bits = [word >> i & 1 for i in reversed(range(IDENTIFIER_BITS + CHECK_BITS))] + [0] * _MEMORY
    signs, state = [], 0
    _, outputs = _trellis()
    for bit in bits:
        signs.append(outputs[state, bit])
        state = (bit << _MEMORY | state) >> 1
    return np.concatenate(signs)


def decode(soft: np.ndarray) -> int | None:
    """The identifier that explains soft signs best, or None if its check bits contradict it.

    Args:
        soft (`numpy.ndarray` of shape `(CODED_BITS,)`): Received signs, positive for a bit that is 0.

    Returns:
        `int`, *optional*: The identifier. Of pure noise one in 65,536 passes the check.
    """
    before, outputs = _trellis()
    metric = np.full(_STATES, -np.inf)
    metric[0] = 0.0
    choices = np.empty((STEPS, _STATES), np.int64)
    states = np.arange(_STATES)
    newest = states >> (_MEMORY - 1)  # the bit that led to a state
    for step, received in enumerate(np.asarray(soft, np.float64).reshape(STEPS, -1)):
        candidates = metric[before] + outputs[before, newest[:, None]] @ received
        choices[step] = candidates.argmax(1)
        metric = candidates.max(1)
    word, state = 0, 0
    for step in reversed(range(STEPS)):
        word |= int(newest[state]) << (STEPS - 1 - step)
        state = before[state, choices[step, state]]
    word >>= _MEMORY
    identifier = word >> CHECK_BITS
    return identifier if word & ((1 << CHECK_BITS) - 1) == _check(identifier) else None


def _check(identifier: int) -> int:
    value = 0xFFFF
    for byte in identifier.to_bytes(IDENTIFIER_BITS // 8, "big"):
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021) & 0xFFFF if value & 0x8000 else value << 1
    return value


@lru_cache(maxsize=1)
def _trellis() -> tuple[np.ndarray, np.ndarray]:
    """The two states before each state `(states, 2)`, and the signs of each state and bit `(states, 2, 3)`."""
    states = np.arange(_STATES)
    before = (states[:, None] << 1 & (_STATES - 1)) | np.arange(2)
    registers = np.arange(2)[None] << _MEMORY | states[:, None]
    parities = [[[int(r & g).bit_count() & 1 for g in _GENERATORS] for r in row] for row in registers]
    return before, 1.0 - 2.0 * np.array(parities, np.float64)
