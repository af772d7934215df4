"""Motions by name: what comes with the package, and what a user keeps."""

from pathlib import Path

import numpy as np
import pytest

from vivface.errors import MediaError, OptionError
from vivface.media import VideoReader, is_marked_synthetic
from vivface.provenance.detection import find_mark
from vivface.reenactment.motion_library import SHIPPED, find_motion, keep_motion, list_motions

NAMES = {"nod", "talk", "smile", "look-around", "laugh"}


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VIVFACE_MOTIONS", str(tmp_path / "library"))
    return tmp_path / "library"


class TestShipped:
    def test_five_small_clips(self):
        assert set(list_motions()) == NAMES
        assert sum(path.stat().st_size for path in SHIPPED.glob("*.mp4")) < 500_000

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_a_loop_that_says_what_it_is(self, name):
        path = list_motions()[name]
        assert path.parent == SHIPPED and is_marked_synthetic(path)
        with VideoReader(path) as reader:
            images = [frame.image for frame in reader]
        assert 40 <= len(images) <= 100 and images[0].shape == (256, 256, 3)
        moved = [np.abs(image.astype(float) - images[0]).mean() for image in images]
        assert max(moved) > 3 and moved[-1] < max(moved) / 2  # it moves, and comes back
        assert find_mark(images[:6]).found


class TestKept:
    def test_by_name(self, motion_file, library):
        kept = keep_motion(motion_file, "my-move")
        assert kept == library / "my-move.safetensors" and find_motion("my-move") == kept
        assert set(list_motions()) == NAMES | {"my-move"}
        assert kept.read_bytes() == Path(motion_file).read_bytes()

    def test_another_of_the_same_name(self, motion_file, face_clip):
        keep_motion(motion_file, "move")
        with pytest.raises(OptionError, match="already"):
            keep_motion(face_clip, "move")
        assert keep_motion(face_clip, "move", overwrite=True).suffix == ".mp4"
        assert list_motions()["move"].suffix == ".mp4"

    def test_a_kept_one_comes_before_one_that_ships(self, motion_file):
        keep_motion(motion_file, "nod")
        assert find_motion("nod").suffix == ".safetensors"

    @pytest.mark.parametrize("name", ["", "Nod", "../nod", "a b", "-a", "x" * 41])
    def test_bad_names(self, motion_file, name):
        with pytest.raises(OptionError, match="is no name"):
            keep_motion(motion_file, name)

    def test_bad_files(self, tmp_path):
        (tmp_path / "a.txt").write_text("words")
        for path in (tmp_path / "a.txt", tmp_path / "missing.mp4"):
            with pytest.raises(MediaError, match="no motion file"):
                keep_motion(path, "move")


class TestNames:
    def test_a_file_wins(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "nod").write_text("mine")
        assert find_motion("nod") == Path("nod")

    def test_what_is_no_name_stays_as_it_is(self):
        for name in ("nod.mp4", "folder/nod", "nothing"):
            assert find_motion(name) == Path(name)

    def test_it_drives_a_portrait(self, run_cli, tiny_checkpoint, tmp_path):
        status, out, err = run_cli(
            "motion", "preview", "nod", "-o", tmp_path / "a.webp", "--checkpoint", tiny_checkpoint
        )
        assert (status, err.strip()) == (0, "") and "51 frames of nod.mp4" in out
        assert (tmp_path / "a.webp").is_file()

    def test_commands(self, run_cli, motion_file):
        status, out, _ = run_cli("motion", "keep", motion_file, "mine")
        assert status == 0 and out.startswith("mine: ")
        status, out, _ = run_cli("motion", "list")
        assert status == 0 and "nod  comes with vivface" in out and "mine  " in out
