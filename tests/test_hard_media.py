"""What users also upload, through the command line: each file works, or is refused in one sentence."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.clips import read_times
from vivface.media import VideoReader, is_marked_synthetic, load_image

GOOD_SOURCES = [
    "alpha.png",
    "cmyk.jpg",
    "exif_rotated.jpg",
    "gray.png",
    "gray16.png",
    "several_faces.jpg",
    "tiny_64px.png",
]
BAD_SOURCES = {
    "no_face.jpg": "No face was found",
    "upside_down.jpg": "No face was found",
    "truncated.jpg": "damaged or cut off",
    "text.jpg": "not an image",
}
GOOD_DRIVING = {  # frames, seconds that the result lasts
    "face_gap.mp4": (75, None),
    "fps_5.mp4": (13, 2.6),
    "odd_size_yuv444.mp4": (30, None),
    "one_frame.mp4": (1, None),
    "rotated90.mp4": (None, None),
    "truncated_partial.mp4": (41, None),
    "vfr.mp4": (46, 2.53),
}
BAD_DRIVING = {
    "no_face.mp4": "No face",
    "audio_only.mp4": "no video stream",
    "text.mp4": "not a video",
    "truncated_no_index.mp4": "cut off",
    "zero_byte.mp4": "empty",
}


@pytest.fixture(scope="session")
def hard_dir(media_dir: Path) -> Path:
    return media_dir / "hard"


@pytest.fixture
def reenact(run_cli, tiny_checkpoint, tmp_path):
    """source, driving -> (exit status, stderr, path of the result)"""

    def run(source: Path, driving: Path) -> tuple[int, str, Path]:
        output = tmp_path / "result" / "out.mp4"
        output.parent.mkdir()
        status, _, errors = run_cli("reenact", source, driving, "-o", output, "--checkpoint", tiny_checkpoint)
        return status, errors, output

    return run


def assert_refused(status: int, errors: str, output: Path, reason: str, name: str) -> None:
    """One sentence that names file and reason, status 2, no traceback, nothing written."""
    assert status == 2
    assert reason in errors and name in errors
    assert len(errors.strip().splitlines()) == 1 and errors.rstrip().endswith(".")
    assert list(output.parent.iterdir()) == []


def assert_plays_everywhere(path: Path) -> None:
    """H.264, yuv420p, even size, marked as synthetic."""
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert codec.width % 2 == codec.height % 2 == 0
    assert is_marked_synthetic(path)


def test_every_file_has_its_test(hard_dir):
    files = {path.name for path in hard_dir.iterdir()}
    assert files == {*GOOD_SOURCES, *BAD_SOURCES, *GOOD_DRIVING, *BAD_DRIVING}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_source_is_refused(hard_dir, reenact, motion_file, name):
    assert_refused(*reenact(hard_dir / name, motion_file), BAD_SOURCES[name], name)


@pytest.mark.parametrize("name", BAD_DRIVING)
def test_driving_video_is_refused(hard_dir, reenact, portrait, name):
    assert_refused(*reenact(portrait, hard_dir / name), BAD_DRIVING[name], name)


@pytest.mark.parametrize("name", GOOD_SOURCES)
def test_source_runs(hard_dir, reenact, motion_file, name):
    status, errors, output = reenact(hard_dir / name, motion_file)
    assert status == 0
    assert len(read_times(output)) == 21
    assert_plays_everywhere(output)
    if name == "several_faces.jpg":
        assert "3 faces in 'several_faces.jpg'" in errors and "with face (0 to 2, largest first)" in " ".join(
            errors.split()
        )
    else:
        assert "faces" not in errors


@pytest.mark.parametrize("name", GOOD_DRIVING)
def test_driving_video_runs(hard_dir, reenact, portrait, name):
    status, errors, output = reenact(portrait, hard_dir / name)
    assert status == 0
    assert_plays_everywhere(output)
    times = read_times(output)
    frames, seconds = GOOD_DRIVING[name]
    # Frames and timestamps are those that decode of the driving clip
    reader = VideoReader(hard_dir / name)
    assert times == [frame.time for frame in reader]
    assert frames is None or len(times) == frames
    if seconds is not None:
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(seconds, abs=0.05)
    if name == "fps_5.mp4":
        assert reader.fps == 5 and times[1] - times[0] == Fraction(1, 5)
    if name == "face_gap.mp4":
        assert "20 of the 75 frames" in errors
    elif name == "truncated_partial.mp4":
        assert "Note:" in errors
    else:
        assert errors.strip() == ""


class TestSourcesAreReadRight:
    """What the pipeline took from awkward images."""

    @pytest.fixture(scope="class")
    @classmethod
    def photo(cls, tiny_pipeline, hard_dir, media_dir):
        identities = {}

        def read(name: str):
            if name not in identities:
                folder = hard_dir if (hard_dir / name).exists() else media_dir / "sources"
                identities[name] = tiny_pipeline.encode_identity(folder / name)
            return identities[name]

        return read

    def test_exif_rotated_is_the_astronaut_upright(self, photo):
        rotated, upright = photo("exif_rotated.jpg"), photo("astronaut.png")
        assert rotated.photo.shape == upright.photo.shape
        assert np.abs(rotated.photo.astype(int) - upright.photo).mean() < 4
        assert np.abs(rotated.quad - upright.quad).max() < 5

    @pytest.mark.parametrize("name", ["gray.png", "gray16.png"])
    def test_gray_has_its_levels(self, photo, hard_dir, name):
        stored = np.asarray(Image.open(hard_dir / name)).astype(float)
        stored = stored / 257 if stored.max() > 255 else stored
        image = photo(name).photo
        assert np.ptp(image, axis=2).max() == 0
        assert np.abs(image[..., 0] - stored).mean() < 1 and image.std() > 30

    def test_cmyk_has_its_colours(self, photo, hard_dir):
        plain = np.asarray(Image.open(hard_dir / "cmyk.jpg").convert("RGB")).astype(float)
        assert np.abs(photo("cmyk.jpg").photo - plain).mean() < 25

    def test_alpha_shows_no_hidden_green(self, photo):
        red, green, blue = np.moveaxis(photo("alpha.png").photo.astype(int), 2, 0)
        assert (green - np.maximum(red, blue)).max() < 40

    def test_largest_of_several_is_taken(self, photo, hard_dir, tiny_pipeline):
        faces = tiny_pipeline.backend.detect(photo("several_faces.jpg").photo)
        assert len(faces) == 3
        spans = [np.ptp(face.landmarks[:, 0]) for face in faces]
        left, right = np.percentile(faces[int(np.argmax(spans))].landmarks[:, 0], [0, 100])
        assert left < photo("several_faces.jpg").quad[:, 0].mean() < right


def _load(motion_file: Path):
    from vivface import MotionCodes

    return MotionCodes.load(motion_file)


def test_rotated_video_is_read_upright(hard_dir, tiny_pipeline):
    motion = tiny_pipeline.encode_motion(hard_dir / "rotated90.mp4")
    assert motion.video_size == (240, 320)


def test_load_image_is_what_the_pipeline_reads(hard_dir):
    assert load_image(hard_dir / "gray16.png").mean() < 200
