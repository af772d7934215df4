"""What a saved result says about itself, and how to leave that out."""

from pathlib import Path

import numpy as np
import pytest

from tests.clips import write_face_clip
from vivface.media import VideoReader, load_image
from vivface.provenance import Provenance, verify


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Two frames with a face."""
    return write_face_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=2)


@pytest.fixture(scope="module")
def result(tiny_pipeline, portrait, clip):
    """Pasted into the photo, 512 x 512: the tiny pipeline's own 64 x 64 have no room for a mark."""
    return tiny_pipeline(portrait, clip, paste_back=True)


def images(path) -> list[np.ndarray]:
    with VideoReader(path) as video:
        return [frame.image for frame in video]


def test_by_default_it_says_everything(result, tmp_path):
    result.save(tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    found = verify(tmp_path / "out.mp4")
    assert found.verdict == "synthetic" and found.metadata and found.mark.found
    assert found.manifest.state == "trusted" and found.manifest.mark == f"{found.mark.identifier:08x}"
    assert "composite" in found.manifest.source_types[0]  # pasted into a photo
    assert found.manifest.ingredients == ("portrait", "driving video")
    assert not [warning for warning in result.report.warnings if "mark" in warning or "manifest" in warning]


def test_the_same_call_gives_the_same_pictures(result, tmp_path):
    for name in ("a.webp", "b.webp"):
        result.save(tmp_path / name, quality=100)
    assert all(
        np.array_equal(a, b) for a, b in zip(images(tmp_path / "a.webp"), images(tmp_path / "b.webp"), strict=True)
    )


def test_without_it_pictures_are_as_they_were_made(result, tmp_path):
    result.save(tmp_path / "frames" / "%d.png", provenance=Provenance(mark=False, manifest=False))
    for number, frame in enumerate(result):
        assert np.array_equal(load_image(tmp_path / "frames" / f"{number}.png"), frame)
    found = verify(tmp_path / "frames" / "0.png")
    assert found.metadata and found.manifest is None and not found.mark.found


def test_with_it_they_hardly_differ(result, tmp_path):
    result.save(tmp_path / "frames" / "%d.png")
    for number, frame in enumerate(result):
        saved = load_image(tmp_path / "frames" / f"{number}.png")
        assert 42 < 10 * np.log10(255**2 / np.mean((saved.astype(float) - frame) ** 2)) < 60


def test_in_a_row_the_result_is_marked(result, tmp_path):
    result.save(tmp_path / "row.mp4", side_by_side=True, comparison=tmp_path / "second.mp4")
    for name in ("row.mp4", "second.mp4"):
        found = verify(tmp_path / name)
        assert found.verdict == "synthetic" and found.manifest.mark


def test_small_results_carry_a_manifest_without_a_mark(tiny_pipeline, portrait, clip, tmp_path):
    result = tiny_pipeline(portrait, clip)
    result.save(tmp_path / "out.mp4")
    found = verify(tmp_path / "out.mp4")
    assert found.verdict == "synthetic" and found.manifest.mark == ""
    assert found.manifest.source_types[0].endswith("/trainedAlgorithmicMedia")
    assert result.report.warnings == []


def test_the_command_line(run_cli, tiny_checkpoint, portrait, clip, tmp_path):
    common = ("reenact", portrait, clip, "--checkpoint", tiny_checkpoint, "--paste-back")
    status, _, err = run_cli(*common, "-o", tmp_path / "a" / "%d.png", "--no-mark", "--no-manifest")
    assert (status, err.strip()) == (0, "")
    status, _, err = run_cli(*common, "-o", tmp_path / "b" / "%d.png", "--label")
    assert (status, err.strip()) == (0, "")
    plain, labelled = (load_image(tmp_path / name / "0.png") for name in ("a", "b"))
    assert np.abs(plain[:200].astype(int) - labelled[:200]).max() < 12  # the mark alone
    assert np.abs(plain[-60:].astype(int) - labelled[-60:]).max() > 40  # the label
    assert not verify(tmp_path / "a" / "0.png").mark.found and verify(tmp_path / "b" / "0.png").mark.found
    status, _, err = run_cli(*common, "-o", tmp_path / "c.mp4", "--label-text", "")
    assert status == 2 and "label" in err
    status, _, err = run_cli(*common, "-o", tmp_path / "c.webm", "--codec", "h264")
    assert status == 2 and "vp9 or av1" in err
