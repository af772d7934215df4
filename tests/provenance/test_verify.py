"""`vivface verify`: what is found, how sure it is, and whether it agrees."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.clips import portrait, write_face_clip
from tests.provenance.media import cropped, encoded, film
from vivface.errors import MediaError
from vivface.media import VideoWriter, open_writer, save_image
from vivface.media.provenance import SYNTHETIC_TYPE
from vivface.provenance import Provenance, Stamp, add_mark, sign_file, signing_key, verify

NUMBER = 0x0BADF00D


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film as `vivface reenact` leaves it."""
    return stamped_film(tmp_path_factory.mktemp("result") / "out.mp4")


def stamped_film(path: Path, provenance: Provenance | None = None) -> Path:
    stamp = Stamp(provenance or Provenance(), NUMBER)
    with open_writer(path, (256, 256), 25, finish=stamp.finish) as writer:
        for frame in film(256):
            writer.write(stamp.picture(frame))
    return path


def unmarked_png(path: Path, image: np.ndarray) -> Path:
    """An image without any metadata."""
    from PIL import Image

    Image.fromarray(image).save(path)
    return path


class TestVerdicts:
    def test_a_result(self, result):
        found = verify(result)
        assert found.verdict == "synthetic" and found.metadata and not found.disagreements
        assert found.manifest.state == "trusted" and found.manifest.mark == f"{NUMBER:08x}"
        assert found.mark.found and found.mark.identifier == NUMBER and found.pictures == 12
        assert found.lines()[0].startswith("out.mp4: made or changed by a trained model")

    @pytest.mark.parametrize("suffix", [".gif", ".mkv"])
    def test_other_formats(self, tmp_path, suffix):
        assert verify(stamped_film(tmp_path / f"out{suffix}")).verdict == "synthetic"

    def test_the_mark_is_enough(self, tmp_path):
        """Re-encoded, cropped, without metadata and manifest."""
        frames = encoded([cropped(add_mark(frame, NUMBER)) for frame in film(256)], 23)  # one small frame has to do
        path = unmarked_png(tmp_path / "shot.png", frames[0])
        found = verify(path)
        assert found.verdict == "synthetic" and not found.metadata and found.manifest is None
        assert found.mark.found and "chance of a false alarm below 1 in" in found.lines()[3]

    def test_metadata_are_enough(self, tmp_path):
        save_image(tmp_path / "a.png", portrait())
        found = verify(tmp_path / "a.png")
        assert found.verdict == "synthetic" and found.metadata and not found.mark.found

    def test_nothing(self, tmp_path):
        found = verify(unmarked_png(tmp_path / "a.png", portrait()))
        assert found.verdict == "nothing" and found.manifest is None and not found.mark.found
        assert "does not mean that it is real" in found.lines()[0]

    def test_no_film_of_people_is_accused(self, media_dir):
        for path in (media_dir / "hard" / "vfr.mp4", media_dir / "hard" / "no_face.mp4"):
            assert verify(path).verdict == "nothing", path.name

    def test_large_films_are_reduced(self, tmp_path):
        frame = np.kron(portrait()[:, :400], np.ones((4, 4, 1), np.uint8))
        save_image(tmp_path / "large.jpg", add_mark(frame, NUMBER))
        assert verify(tmp_path / "large.jpg").mark.found


class TestDisagreements:
    def test_a_changed_file(self, result, tmp_path):
        data = bytearray(result.read_bytes())
        data[-2000] ^= 255
        (tmp_path / "changed.mp4").write_bytes(data)
        found = verify(tmp_path / "changed.mp4")
        assert found.verdict == "disagreement" and "changed after it was signed" in found.disagreements[0]
        assert "contradict" in found.lines()[0]

    def test_another_mark_than_the_manifest_names(self, tmp_path):
        save_image(tmp_path / "a.png", add_mark(portrait(), NUMBER + 1))
        sign_file(tmp_path / "a.png", signing_key(), "1", identifier=NUMBER)
        found = verify(tmp_path / "a.png")
        assert found.verdict == "disagreement" and found.manifest.state == "trusted"
        assert f"{NUMBER:08x}" in found.disagreements[0] and f"{NUMBER + 1:08x}" in found.disagreements[0]

    def test_a_mark_that_the_manifest_does_not_name(self, tmp_path):
        save_image(tmp_path / "a.png", add_mark(portrait(), NUMBER))
        sign_file(tmp_path / "a.png", signing_key(), "1")
        assert "names no mark" in verify(tmp_path / "a.png").disagreements[0]

    def test_a_manifest_that_names_a_mark_which_is_not_there(self, tmp_path):
        save_image(tmp_path / "a.png", portrait())
        sign_file(tmp_path / "a.png", signing_key(), "1", identifier=NUMBER)
        assert "do not carry it" in verify(tmp_path / "a.png").disagreements[0]

    def test_a_manifest_that_says_camera(self, tmp_path):
        camera = SYNTHETIC_TYPE.replace("trainedAlgorithmicMedia", "digitalCapture")
        path = unmarked_png(tmp_path / "a.png", add_mark(portrait(), NUMBER))
        sign_file(path, signing_key(), "1", source_type=camera)
        assert "does not say that a trained model" in verify(path).disagreements[0]
        save_image(tmp_path / "b.png", portrait())
        sign_file(tmp_path / "b.png", signing_key(), "1", source_type=camera)
        assert "another origin" in verify(tmp_path / "b.png").disagreements[0]

    def test_a_weak_mark_is_no_contradiction(self, tmp_path):
        """A picture so small that its mark cannot be found blindly, but is there."""
        stamp = Stamp(Provenance(), NUMBER)
        image = stamp.picture(np.ascontiguousarray(portrait()[:300:3, :300:3]))
        save_image(tmp_path / "a.png", image, stamp.finish)
        assert verify(tmp_path / "a.png").verdict == "synthetic"


class TestCommand:
    def test_words(self, run_cli, result):
        status, out, err = run_cli("verify", result)
        assert (status, err) == (0, "")
        lines = out.splitlines()
        assert len(lines) == 4 and lines[0].startswith("out.mp4: made or changed by a trained model")
        assert [line.partition(":")[0] for line in lines[1:]] == ["Metadata", "Manifest", "Mark"]

    def test_json(self, run_cli, result):
        status, out, _ = run_cli("verify", result, "--json")
        found = json.loads(out)
        assert status == 0 and found["verdict"] == "synthetic"
        assert found["mark"]["identifier"] == f"{NUMBER:08x}" and found["manifest"]["state"] == "trusted"

    def test_what_cannot_be_read(self, run_cli, tmp_path):
        (tmp_path / "a.txt").write_text("words")
        for name in ("a.txt", "missing.png"):
            status, out, err = run_cli("verify", tmp_path / name)
            assert (status, out) == (2, "") and err.startswith("Error: Cannot read")

    def test_a_film_that_is_cut_off(self, tmp_path):
        with VideoWriter(tmp_path / "a.mp4", (64, 64), 25) as writer:
            writer.write(portrait()[:64, :64])
        (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes()[:200])
        with pytest.raises(MediaError):
            verify(tmp_path / "b.mp4")


def test_unsigned_films_have_metadata_only(tmp_path):
    found = verify(write_face_clip(tmp_path / "clip.mp4", 3))
    assert found.verdict == "synthetic" and found.manifest is None and not found.mark.found
