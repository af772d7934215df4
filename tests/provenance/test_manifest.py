"""Signed manifests: in every format that can hold one, beside the others, and with those of the inputs inside."""

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.clips import portrait, read_sound_packets, read_times, write_sound
from tests.provenance.media import film
from vivface.errors import MediaError, OptionError
from vivface.media import VideoReader, VideoWriter, load_image, open_writer, save_image
from vivface.media.provenance import SYNTHETIC_TYPE
from vivface.provenance import Ingredient, Provenance, Stamp, sign_file, signing_key
from vivface.provenance.keys import key_folder
from vivface.provenance.manifest import read_manifest, sidecar_of, sign_bytes

NUMBER = 0xABCD0123


def signed_film(path: Path, **options) -> Path:
    """A film of a few frames with a manifest."""
    stamp = Stamp(Provenance(mark=False), NUMBER, **options)
    with open_writer(path, (96, 96), 25, finish=stamp.finish) as writer:
        for frame in film(96, 3):
            writer.write(frame)
    return path


class TestFormats:
    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
    def test_images(self, tmp_path, suffix):
        path = tmp_path / f"out{suffix}"
        stamp = Stamp(Provenance(), NUMBER)
        image = stamp.picture(portrait())
        save_image(path, image, stamp.finish)
        report = read_manifest(path)
        assert report.state == "trusted" and report.says_synthetic and not report.sidecar
        assert report.source_types == (SYNTHETIC_TYPE,) and report.mark == "abcd0123"
        assert report.maker.startswith("vivface ") and "key that vivface made" in report.signer
        if suffix == ".png":
            assert np.array_equal(load_image(path), image)

    @pytest.mark.parametrize("suffix", [".mp4", ".mov", ".gif"])
    def test_films(self, tmp_path, suffix):
        report = read_manifest(signed_film(tmp_path / f"out{suffix}", composite=True))
        assert report.state == "trusted" and not report.sidecar
        assert report.says_synthetic and "composite" in report.source_types[0]
        assert report.mark == ""  # none was put in

    def test_matroska_gets_a_file_beside_it(self, tmp_path):
        path = signed_film(tmp_path / "out.mkv")
        assert sidecar_of(path) == tmp_path / "out.mkv.c2pa" and sidecar_of(path).is_file()
        report = read_manifest(path)
        assert report.state == "trusted" and report.sidecar
        sidecar_of(path).unlink()
        assert read_manifest(path) is None

    def test_the_film_itself_does_not_change(self, tmp_path):
        sound = write_sound(tmp_path / "sound.m4a", 0.2)
        for name, finish in (("plain.mp4", None), ("signed.mp4", Stamp(Provenance(), NUMBER).finish)):
            with VideoWriter(tmp_path / name, (96, 96), 25, audio_from=sound, finish=finish) as writer:
                for frame in film(96, 5):
                    writer.write(frame)
        plain, signed = tmp_path / "plain.mp4", tmp_path / "signed.mp4"
        assert read_times(plain) == read_times(signed)
        assert read_sound_packets(plain) == read_sound_packets(signed)
        with VideoReader(plain) as first, VideoReader(signed) as second:
            assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))

    def test_in_memory(self, tmp_path):
        save_image(tmp_path / "a.jpg", portrait())
        data = sign_bytes((tmp_path / "a.jpg").read_bytes(), "image/jpeg", signing_key(), "1", NUMBER)
        (tmp_path / "b.jpg").write_bytes(data)
        assert read_manifest(tmp_path / "b.jpg").mark == "abcd0123"

    def test_unsigned_files_have_none(self, tmp_path, face_clip):
        save_image(tmp_path / "a.png", portrait())
        assert read_manifest(tmp_path / "a.png") is None
        assert read_manifest(face_clip) is None


class TestChanges:
    def test_a_changed_byte_is_seen(self, tmp_path):
        for name in ("out.mp4", "out.mkv"):
            path = signed_film(tmp_path / name)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 255
            path.write_bytes(data)
            report = read_manifest(path)
            assert report.state == "invalid" and report.problem

    def test_a_manifest_beside_another_film_is_seen(self, tmp_path):
        first = signed_film(tmp_path / "first.mkv")
        with VideoWriter(tmp_path / "second.mkv", (96, 96), 25) as writer:
            writer.write(portrait()[:96, :96])
        shutil.copy(sidecar_of(first), sidecar_of(tmp_path / "second.mkv"))
        assert read_manifest(tmp_path / "second.mkv").state == "invalid"

    def test_a_damaged_sidecar_is_seen(self, tmp_path):
        path = signed_film(tmp_path / "out.mkv")
        sidecar_of(path).write_bytes(b"not a manifest")
        assert read_manifest(path).state == "invalid"


class TestIngredients:
    def test_manifests_of_the_inputs_are_kept(self, tmp_path, face_clip):
        source = tmp_path / "portrait.png"
        stamp = Stamp(Provenance(), 1)
        save_image(source, stamp.picture(portrait()), stamp.finish)
        files = [Ingredient("portrait", source), Ingredient("driving video", face_clip)]
        report = read_manifest(signed_film(tmp_path / "out.mp4", ingredients=files))
        assert report.state == "trusted"
        assert report.ingredients == ("portrait (with a manifest)", "driving video")
        assert source.name.encode() not in (tmp_path / "out.mp4").read_bytes()  # names of files stay private

    def test_inputs_that_are_gone_or_unreadable_are_left_out(self, tmp_path):
        (tmp_path / "broken.jpg").write_bytes(b"no image")
        (tmp_path / "notes.txt").write_text("no image")
        names = ("gone.png", "broken.jpg", "notes.txt")
        files = [Ingredient("portrait", tmp_path / name) for name in names]
        assert read_manifest(signed_film(tmp_path / "out.mp4", ingredients=files)).state == "trusted"


class TestKeys:
    def test_a_key_is_made_once_and_kept_private(self, tmp_path, monkeypatch):
        monkeypatch.setenv("VIVFACE_KEYS", str(tmp_path / "new"))
        first = signing_key()
        assert signing_key() == first and first.algorithm == "es256"
        for path in key_folder().iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "PRIVATE" not in repr(first)

    def test_a_given_key(self, tmp_path, monkeypatch):
        monkeypatch.setenv("VIVFACE_KEYS", str(tmp_path / "other"))
        signing_key()
        monkeypatch.setenv("VIVFACE_SIGNING_KEY", str(tmp_path / "other" / "signing-key.pem"))
        certificates = tmp_path / "other" / "signing-certificates.pem"
        monkeypatch.setenv("VIVFACE_SIGNING_CERTIFICATES", str(certificates))
        monkeypatch.setenv("VIVFACE_KEYS", str(tmp_path / "empty"))
        path = signed_film(tmp_path / "out.mp4")
        assert not (tmp_path / "empty").exists()
        assert read_manifest(path).state == "valid"  # nobody here vouches for it
        monkeypatch.setenv("VIVFACE_TRUST_ANCHORS", str(certificates))
        assert read_manifest(path).state == "trusted"

    def test_half_a_key(self, tmp_path, monkeypatch):
        monkeypatch.setenv("VIVFACE_SIGNING_KEY", str(tmp_path / "key.pem"))
        with pytest.raises(OptionError, match="set both"):
            signing_key()
        monkeypatch.setenv("VIVFACE_SIGNING_CERTIFICATES", str(tmp_path / "certificates.pem"))
        with pytest.raises(OptionError, match="key.pem"):
            signing_key()
        (tmp_path / "key.pem").write_text("no key")
        with pytest.raises(OptionError, match="no private key"):
            signing_key()

    def test_a_folder_that_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("VIVFACE_KEYS", str(tmp_path / "file"))
        with pytest.raises(OptionError, match="VIVFACE_KEYS"):
            signing_key()

    def test_a_result_survives_a_key_that_does_not_work(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("VIVFACE_KEYS", str(tmp_path / "file"))
        stamp = Stamp(Provenance(), NUMBER)
        save_image(tmp_path / "out.png", portrait(), stamp.finish)
        assert (tmp_path / "out.png").is_file() and read_manifest(tmp_path / "out.png") is None
        assert len(stamp.warnings) == 1 and "no signed manifest" in stamp.warnings[0]

    def test_a_file_of_another_kind(self, tmp_path):
        (tmp_path / "out.png").write_bytes(b"no image")
        with pytest.raises(MediaError, match="Cannot sign"):
            sign_file(tmp_path / "out.png", signing_key(), "1")
        assert (tmp_path / "out.png").read_bytes() == b"no image"

    def test_importing_does_not_load_the_library(self):
        code = "import sys, vivface.provenance; sys.exit(any(n in sys.modules for n in ('c2pa', 'cryptography')))"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
