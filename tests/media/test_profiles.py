"""Colour profiles: images of any mode become sRGB within 2 levels."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from vivface.media import load_image

P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
D65 = (0.3127, 0.3290)
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
PROFILES = {"Display P3": (P3, None), "Adobe RGB": (ADOBE, 563 / 256)}  # primaries; gamma, or None for sRGB's curve


def to_xyz(primaries: tuple) -> np.ndarray:
    """Linear RGB to XYZ of D50, (3, 3)."""
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in (*primaries, D65)]).T
    matrix = columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
    cone = BRADFORD @ columns[:, 3]
    return np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / cone) @ BRADFORD @ matrix


def linear(values: np.ndarray, gamma: float | None) -> np.ndarray:
    if gamma is not None:
        return values**gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def expected(rgb: np.ndarray, name: str) -> np.ndarray:
    """sRGB of coded RGB, levels in [0, 255]."""
    primaries, gamma = PROFILES[name]
    light = linear(rgb / 255, gamma) @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def profile(name: str, space: bytes = b"RGB ") -> bytes:
    """An ICC profile, version 2: a matrix and curves, or a grey curve."""
    primaries, gamma = PROFILES[name]

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    steps = [round(65535 * float(linear(np.array(index / 1023), gamma))) for index in range(1024)]
    curve = b"curv" + bytes(4) + struct.pack(">I1024H", 1024, *steps)
    tags = {b"wtpt": b"XYZ " + bytes(4) + b"".join(map(fixed, D50))}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for letter, column in zip((b"r", b"g", b"b"), to_xyz(primaries).T, strict=True):
            tags[letter + b"XYZ"] = b"XYZ " + bytes(4) + b"".join(map(fixed, column))
            tags[letter + b"TRC"] = curve
    tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags[b"cprt"] = b"text" + bytes(4) + b"none\0"
    table, body = struct.pack(">I", len(tags)), b""
    for key, data in tags.items():
        table += key + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytes(8) + struct.pack(">I", 0x02400000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += b"".join(map(fixed, D50))
    head += bytes(128 - len(head))
    return struct.pack(">I", 128 + len(table + body)) + (head + table + body)[4:]


def colours() -> np.ndarray:
    """Sixteen plain patches, uint8 (32, 32, 3)."""
    levels = np.random.default_rng(1).integers(40, 216, (4, 4, 3))
    return np.kron(levels, np.ones((8, 8, 1))).astype(np.uint8)


@pytest.mark.parametrize("name", PROFILES)
class TestModes:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr", "HSV"])
    def test_colour(self, name: str, mode: str):
        image = Image.fromarray(colours())
        if mode in ("P", "PA"):
            image = image.quantize(64).convert(mode) if mode == "PA" else image.quantize(64)
        elif mode == "RGBa":
            image = image.convert("RGBA").convert("RGBa")
        else:
            image = image.convert(mode)
        plain = np.asarray(image.convert("RGBA").convert("RGB")).astype(float)  # what these modes can hold
        image.info["icc_profile"] = profile(name)
        assert image.mode == mode
        assert np.abs(load_image(image) - expected(plain, name)).max() <= 2

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "I", "F"])
    @pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
    def test_gray(self, name: str, mode: str, space: bytes):
        gray = np.repeat(colours()[..., 1][..., None], 3, axis=2)
        if mode == "1":
            gray = np.where(gray > 128, 255, 0).astype(np.uint8)
        single = gray[..., 0]
        image = {
            "I;16": lambda: Image.fromarray(single.astype(np.uint16) * 257),
            "I": lambda: Image.fromarray(single.astype(np.int32) * 257),
            "F": lambda: Image.fromarray(single.astype(np.float32) / 255),
        }.get(mode, lambda: Image.fromarray(single).convert(mode))()
        image.info["icc_profile"] = profile(name, space)
        assert image.mode == mode
        assert np.abs(load_image(image) - expected(gray.astype(float), name)).max() <= 2

    @pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp", "avif"])
    def test_files(self, tmp_path: Path, name: str, ending: str):
        path = tmp_path / f"a.{ending}"
        options = {"lossless": True} if ending == "webp" else {} if ending in ("png", "tiff") else {"quality": 100}
        Image.fromarray(colours()).save(path, icc_profile=profile(name), **options)
        error = np.abs(load_image(path) - expected(colours().astype(float), name))
        assert np.median(error) <= 2 and (error.max() <= 2 or ending in ("jpg", "avif"))

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_transparent(self, tmp_path: Path, name: str, mode: str):
        image = Image.fromarray(colours()).convert("RGBA")
        image.putalpha(Image.fromarray(np.repeat(np.linspace(0, 255, 32).astype(np.uint8)[None], 32, axis=0)))
        image = image.quantize(64) if mode == "P" else image.convert(mode)
        plain = np.asarray(image.convert("RGBA")).astype(float)
        image.save(tmp_path / "a.png", icc_profile=profile(name))
        alpha = plain[..., 3:] / 255
        right = expected(plain[..., :3], name) * alpha + 255 * (1 - alpha)
        assert np.abs(load_image(tmp_path / "a.png") - right).max() <= 2


class TestOtherColours:
    def test_lab(self, tmp_path: Path):
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(Image.fromarray(colours()), srgb, lab, outputMode="LAB")
        image.save(tmp_path / "a.tiff")
        error = np.abs(load_image(tmp_path / "a.tiff").astype(int) - colours())
        assert np.percentile(error, 90) <= 2 and error.max() < 12  # 8 bits of Lab hold saturated colours coarsely

    @pytest.mark.parametrize(("mode", "space"), [("RGB", b"GRAY"), ("CMYK", b"RGB "), ("P", b"GRAY")])
    def test_a_profile_of_other_colours_is_ignored(self, mode: str, space: bytes):
        image = Image.fromarray(colours())
        image = image.quantize(64) if mode == "P" else image.convert(mode)
        plain = np.asarray(image.convert("RGB"))
        image.info["icc_profile"] = profile("Adobe RGB", space)
        assert np.array_equal(load_image(image), plain)
