"""Images: every kind that people have becomes upright RGB, or one clear sentence."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from vivface.errors import MediaError
from vivface.media import is_marked_synthetic, load_image, save_image


def ramp(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth image without symmetry, uint8 (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 60 + 0 * x], -1).astype(np.uint8)


class TestHardImages:
    @pytest.mark.parametrize(
        ("name", "size"),
        [
            ("no_face.jpg", (512, 341)),
            ("several_faces.jpg", (768, 288)),
            ("exif_rotated.jpg", (512, 512)),
            ("gray.png", (224, 224)),
            ("gray16.png", (224, 224)),
            ("cmyk.jpg", (224, 224)),
            ("alpha.png", (224, 224)),
            ("tiny_64px.png", (64, 64)),
            ("upside_down.jpg", (256, 256)),
        ],
    )
    def test_read(self, hard_dir: Path, name: str, size: tuple[int, int]):
        image = load_image(hard_dir / name)
        assert image.dtype == np.uint8
        assert image.shape == (size[1], size[0], 3)
        assert image.flags.c_contiguous
        assert 60 < image.mean() < 200  # neither black nor white

    @pytest.mark.parametrize(("name", "reason"), [("truncated.jpg", "cut off"), ("text.jpg", "not an image")])
    def test_refused(self, hard_dir: Path, name: str, reason: str):
        with pytest.raises(MediaError, match=reason) as caught:
            load_image(hard_dir / name)
        assert name in str(caught.value)

    def test_exif_orientation(self, hard_dir: Path, media_dir: Path):
        turned = load_image(hard_dir / "exif_rotated.jpg").astype(float)
        upright = load_image(media_dir / "sources" / "astronaut.png").astype(float)
        assert np.abs(turned - upright).mean() < 3

    def test_sixteen_bits_equal_eight(self, hard_dir: Path):
        assert np.array_equal(load_image(hard_dir / "gray16.png"), load_image(hard_dir / "gray.png"))

    def test_cmyk_has_the_right_brightness_and_colour(self, hard_dir: Path):
        image = load_image(hard_dir / "cmyk.jpg").astype(float)
        gray = load_image(hard_dir / "gray.png")[..., 0].astype(float)
        luma = image @ (0.299, 0.587, 0.114)
        assert np.abs(luma - gray).mean() < 3
        assert image[100, 112, 0] > image[100, 112, 2] + 10  # skin is redder than blue

    def test_alpha_shows_no_hidden_green(self, hard_dir: Path):
        image = load_image(hard_dir / "alpha.png").astype(int)
        assert (image[0, 0] == 255).all()
        assert (image[..., 1] - np.maximum(image[..., 0], image[..., 2])).max() < 60
        assert not ((image[..., 1] > 200) & (image[..., 0] < 100)).any()


class TestKinds:
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
    def test_modes_keep_brightness(self, tmp_path: Path, mode: str):
        gray = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 48, axis=0)
        if mode == "I;16":
            made = Image.fromarray(gray.astype(np.uint16) * 257)
        elif mode == "I":
            made = Image.fromarray(gray.astype(np.int32) * 257)
        elif mode == "F":
            made = Image.fromarray(gray.astype(np.float32) / 255)
        else:
            made = Image.fromarray(gray).convert(mode)
        path = tmp_path / "picture.tiff"
        made.save(path)
        image = load_image(path)
        assert image.shape == (48, 64, 3)
        tolerance = 60 if mode == "1" else 2  # one bit: only the average, dithered
        assert abs(image.mean() - gray.mean()) < tolerance
        if mode != "1":
            assert np.abs(image[..., 1].astype(int) - gray).max() <= 2

    def test_palette_with_transparency_becomes_white(self, tmp_path: Path):
        made = Image.new("P", (8, 8), 1)
        made.putpalette([0, 255, 0, 10, 20, 30])
        made.putpixel((0, 0), 0)
        made.save(tmp_path / "p.png", transparency=0)
        image = load_image(tmp_path / "p.png")
        assert (image[0, 0] == 255).all()
        assert (image[4, 4] == (10, 20, 30)).all()

    def test_first_frame_of_an_animation(self, tmp_path: Path):
        first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
        first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
        assert (load_image(tmp_path / "a.gif")[8, 8] == (255, 0, 0)).all()

    def test_colour_profile_is_applied(self, tmp_path: Path):
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        Image.fromarray(ramp()).save(tmp_path / "broken.png", icc_profile=b"not a profile")
        Image.fromarray(ramp()).save(tmp_path / "other.png", icc_profile=lab)
        assert np.array_equal(load_image(tmp_path / "broken.png"), ramp())
        assert load_image(tmp_path / "other.png").shape == ramp().shape  # a profile of another colour space is ignored
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Image.fromarray(ramp()).save(tmp_path / "same.png", icc_profile=srgb)
        assert np.abs(load_image(tmp_path / "same.png").astype(int) - ramp()).max() <= 1
        exchanged = srgb.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
        Image.fromarray(ramp()).save(tmp_path / "exchanged.png", icc_profile=exchanged)  # its "red" is green
        assert np.abs(load_image(tmp_path / "exchanged.png").astype(int) - ramp()[..., [1, 0, 2]]).max() <= 2

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_all_orientations(self, tmp_path: Path, orientation: int):
        stored = {
            1: lambda a: a,
            2: lambda a: a[:, ::-1],
            3: lambda a: a[::-1, ::-1],
            4: lambda a: a[::-1],
            5: lambda a: a.swapaxes(0, 1),
            6: lambda a: np.rot90(a, 1),
            7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
            8: lambda a: np.rot90(a, -1),
        }[orientation](ramp())
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(load_image(tmp_path / "a.png"), ramp())


class TestSources:
    def test_path_kinds_give_the_same(self, tmp_path: Path):
        path = tmp_path / "a.png"
        Image.fromarray(ramp()).save(path)
        with open(path, "rb") as file:
            for source in (str(path), path, Image.open(path), file, io.BytesIO(path.read_bytes()), ramp()):
                assert np.array_equal(load_image(source), ramp())

    @pytest.mark.parametrize(
        "array",
        [
            ramp(),
            ramp().astype(np.uint16) * 257,
            (ramp() / 255).astype(np.float32),
            np.dstack([ramp(), np.full((40, 60), 255, np.uint8)]),
        ],
    )
    def test_arrays(self, array: np.ndarray):
        assert np.array_equal(load_image(array), ramp())

    def test_gray_arrays(self):
        gray = ramp()[..., 0]
        for array in (gray, gray[..., None]):
            assert np.array_equal(load_image(array), np.dstack([gray] * 3))

    @pytest.mark.parametrize(
        "array", [np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8), np.full((4, 4, 3), 7.0), np.zeros(3)]
    )
    def test_other_arrays_are_refused(self, array: np.ndarray):
        with pytest.raises(MediaError, match="array"):
            load_image(array)

    @pytest.mark.parametrize(
        "name", ["it's.png", 'say "hi" & go.png', "ein schönes Bild 写真 🙂.png", "http:a.png", "-o.png"]
    )
    def test_odd_names(self, tmp_path: Path, name: str):
        save_image(tmp_path / name, ramp())
        assert np.array_equal(load_image(tmp_path / name), ramp())
        assert is_marked_synthetic(tmp_path / name)

    def test_missing_folder_empty(self, tmp_path: Path):
        (tmp_path / "empty.png").touch()
        for path, reason in (("none.png", "no such file"), (".", "folder"), ("empty.png", "empty")):
            with pytest.raises(MediaError, match=reason):
                load_image(tmp_path / path)

    def test_a_video_is_not_an_image(self, make_clip):
        with pytest.raises(MediaError, match="it is a video"):
            load_image(make_clip("clip.mp4"))

    def test_no_programs_and_no_vector_graphics(self, tmp_path: Path):
        (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")  # would run Ghostscript
        (tmp_path / "b.png").write_text(
            '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/hostname"/></svg>'
        )
        for name in ("a.png", "b.png"):
            with pytest.raises(MediaError, match="not an image"):
                load_image(tmp_path / name)


class TestDamage:
    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tiff", "a.bmp", "a.avif"])
    def test_damaged_bytes_never_crash(self, tmp_path: Path, name: str):
        exif = Image.Exif()
        exif[274] = 6
        options = {} if name in ("a.bmp", "a.gif") else {"exif": exif}
        Image.fromarray(ramp()).save(tmp_path / name, **options)
        data = (tmp_path / name).read_bytes()
        random = np.random.default_rng(0)
        refused = 0
        for _ in range(150):
            damaged = bytearray(data[: random.integers(len(data) // 2, len(data) + 1)])
            for at in random.integers(0, len(damaged), random.integers(0, 8)):
                damaged[at] = random.integers(0, 256)
            (tmp_path / name).write_bytes(damaged)
            try:
                assert load_image(tmp_path / name, max_pixels=10**6).dtype == np.uint8
            except MediaError as error:
                assert name in str(error)
                refused += 1
        assert refused > 0

    def test_a_text_chunk_that_swells(self, tmp_path: Path):
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "a" * 4_000_000, zip=True)
        Image.fromarray(ramp()).save(tmp_path / "a.png", pnginfo=text)
        assert (tmp_path / "a.png").stat().st_size < 200_000
        with pytest.raises(MediaError, match="damaged"):
            load_image(tmp_path / "a.png")


class TestLimits:
    def test_huge_png_is_refused_undecoded(self, tmp_path: Path):
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
        pixels = zlib.compress(bytes(30000 * 3 + 1) * 100)
        path = tmp_path / "huge.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
        began = time.perf_counter()
        with pytest.raises(MediaError, match="pixels"):
            load_image(path)
        assert time.perf_counter() - began < 1

    def test_limit_counts_pixels(self, tmp_path: Path):
        save_image(tmp_path / "a.png", ramp())
        assert load_image(tmp_path / "a.png", max_pixels=2400).shape == (40, 60, 3)
        with pytest.raises(MediaError, match="60 x 40"):
            load_image(tmp_path / "a.png", max_pixels=2399)


class TestSaving:
    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.jpeg", "a.webp", "A.PNG"])
    def test_round_trip_and_mark(self, tmp_path: Path, name: str):
        save_image(tmp_path / name, ramp())
        error = np.abs(load_image(tmp_path / name).astype(int) - ramp()).mean()
        assert error == 0 if name.lower().endswith("png") else error < 3
        assert is_marked_synthetic(tmp_path / name)
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_unmarked(self, tmp_path: Path):
        for name in ("a.png", "a.jpg"):
            Image.fromarray(ramp()).save(tmp_path / name)
            assert not is_marked_synthetic(tmp_path / name)

    @pytest.mark.parametrize(("name", "reason"), [("a.bmp", ".png"), ("none/a.png", "does not exist"), ("a", ".png")])
    def test_bad_names(self, tmp_path: Path, name: str, reason: str):
        with pytest.raises(MediaError, match=reason):
            save_image(tmp_path / name, ramp())
        assert not list(tmp_path.iterdir())

    def test_other_arrays(self, tmp_path: Path):
        with pytest.raises(ValueError, match="uint8"):
            save_image(tmp_path / "a.png", ramp().astype(float))

    def test_failure_keeps_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = tmp_path / "a.png"
        path.write_bytes(b"old")

        def broken(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Image.Image, "save", broken)
        with pytest.raises(MediaError, match="No space left"):
            save_image(path, ramp())
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
