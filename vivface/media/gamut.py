"""HDR and wide gamut: coded RGB of any transfer and primaries to the BT.709 RGB that screens and networks expect.

Constants are those of ITU-R BT.709, BT.2020, BT.2100 and SMPTE EG 432-1; the tags are those of ITU-T H.273.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

BT709, UNSPECIFIED, BT2020, DCI_P3, DISPLAY_P3 = 1, 2, 9, 11, 12  # primaries
SRGB, PQ, HLG = 13, 16, 18  # transfers

_WHITE_D65, _WHITE_DCI = (0.3127, 0.3290), (0.314, 0.351)
_CHROMATICITIES = {  # x, y of red, green, blue, white
    BT709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _WHITE_D65),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _WHITE_D65),
    DCI_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _WHITE_DCI),
    DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _WHITE_D65),
}
_BT2020_MATRICES = (9, 10)
_GAMMAS = {4: 2.2, 5: 2.8}  # transfers that are plain powers; all other SDR is shown as BT.1886 says
_BT1886 = 2.4
_SDR_WHITE = 100.0  # cd/m2 that become white of SDR: the peak of BT.709 screens
_PEAK = 10.0  # times SDR white: 1000 cd/m2, the peak that BT.2100 names for HLG, and of most PQ masters
_HLG_GAMMA = 1.2  # system gamma at that peak
_KNEE = 0.8  # of SDR white, linear: brighter is compressed, darker stays as it is


def wide_gamut(primaries: int, transfer: int, matrix: int) -> tuple[int, int] | None:
    """Whether frames with these tags need `to_bt709`.

    Args:
        primaries (`int`): `color_primaries` of H.273.
        transfer (`int`): `transfer_characteristics` of H.273.
        matrix (`int`): `matrix_coefficients` of H.273; tells the primaries where they are not given.

    Returns:
        `tuple[int, int]`: The primaries and the transfer to convert from; `None` for plain SDR of BT.709 or BT.601.
    """
    hdr = transfer in (PQ, HLG)
    if primaries not in _CHROMATICITIES and (primaries in (0, UNSPECIFIED)) and (hdr or matrix in _BT2020_MATRICES):
        primaries = BT2020
    if primaries in (BT2020, DCI_P3, DISPLAY_P3):
        return primaries, transfer
    return (BT709, transfer) if hdr else None


def to_bt709(codes: np.ndarray, primaries: int, transfer: int) -> np.ndarray:
    """Convert coded RGB to BT.709 primaries and an SDR transfer.

    HDR is tone-mapped: what SDR can show (up to 80 % of white) keeps its brightness, highlights are compressed.

    Args:
        codes (`np.ndarray` of shape `(height, width, 3)`, `uint16`): RGB as coded, full range.
        primaries (`int`): `BT709`, `BT2020`, `DCI_P3` or `DISPLAY_P3`.
        transfer (`int`): `PQ`, `HLG`, or any SDR transfer of H.273.

    Returns:
        `np.ndarray` of shape `(height, width, 3)`, `uint8`: RGB in [0, 255].
    """
    hdr = transfer in (PQ, HLG)
    light = _linear(transfer)[codes]  # (height, width, 3), float32, 1.0 is SDR white
    if transfer == HLG:
        luminance = cv2.transform(light, _to_xyz(primaries)[1:2].astype(np.float32))  # (height, width), of the scene
        light *= (cv2.pow(luminance, _HLG_GAMMA - 1) * _PEAK)[..., None]
    light = cv2.transform(light, _to_bt709_matrix(primaries))
    if hdr:
        _compress_highlights(light)
    indices = np.clip(light * 65535.0 + 0.5, 0.0, 65535.0).astype(np.uint16)
    return _coded(SRGB if transfer == SRGB else _GAMMAS.get(transfer, _BT1886))[indices]


def _compress_highlights(light: np.ndarray) -> None:
    """Scale, in place, each pixel brighter than the knee so that `_PEAK` becomes 1.0; its hue stays."""
    strongest = cv2.max(cv2.max(light[..., 0], light[..., 1]), light[..., 2])
    bright = strongest > _KNEE
    values = strongest[bright]
    room = 1.0 - _KNEE
    excess, most = (values - _KNEE) / room, (_PEAK - _KNEE) / room
    shown = _KNEE + room * excess * (1.0 + excess / most**2) / (1.0 + excess)  # extended Reinhard above the knee
    light[bright] *= (shown / values)[:, None]


@lru_cache(maxsize=8)
def _linear(transfer: int) -> np.ndarray:
    """Linear light of each 16-bit code, float32 (65536,), 1.0 is SDR white (for HLG: scene light in [0, 1])."""
    code = np.arange(65536) / 65535.0
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = code ** (1 / m2)
        light = (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1) * 10_000.0 / _SDR_WHITE
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    elif transfer == SRGB:
        light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    else:
        light = code ** _GAMMAS.get(transfer, _BT1886)
    return light.astype(np.float32)


@lru_cache(maxsize=8)
def _coded(transfer: float) -> np.ndarray:
    """8-bit code of each of 65536 steps of linear light: the inverse of `_linear`, `uint8` (65536,)."""
    light = np.arange(65536) / 65535.0
    if transfer == SRGB:
        code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    else:
        code = light ** (1 / transfer)
    return np.round(255.0 * code).astype(np.uint8)


@lru_cache(maxsize=8)
def _to_bt709_matrix(primaries: int) -> np.ndarray:
    """Linear RGB of `primaries` to linear RGB of BT.709, float32 (3, 3); white stays white."""
    matrix = np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(primaries)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=8)
def _to_xyz(primaries: int) -> np.ndarray:
    """Linear RGB to CIE XYZ, (3, 3); white has Y = 1."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in _CHROMATICITIES[primaries]]).T  # (3, 4)
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
