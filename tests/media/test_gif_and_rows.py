"""GIFs, images side by side, and reading of marks that other programs wrote."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vivface.errors import MediaError
from vivface.media import VideoReader, VideoWriter, is_marked_synthetic, open_writer, side_by_side
from vivface.media.provenance import SYNTHETIC_TYPE


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """One second of a square that moves to the right, 25 frames."""
    path = tmp_path / "finished.mp4"
    with VideoWriter(path, (96, 64), 25) as writer:
        for index in range(25):
            image = np.full((64, 96, 3), 20, np.uint8)
            image[20:40, 2 * index : 2 * index + 20] = (220, 40, 40)
            writer.write(image)
    return path


class TestGif:
    def write(self, path: Path, frames: int = 24, fps: int = 24, **options):
        with open_writer(path, (65, 63), fps, **options) as writer:
            for index in range(frames):
                image = np.full((63, 65, 3), 20, np.uint8)
                image[20:40, index : index + 20] = (220, 40, 40)
                writer.write(image, Fraction(index, fps), Fraction(1, fps))
        return writer

    @pytest.mark.parametrize("fps", [10, 24, 25, 30, 60])
    def test_size_length_and_mark(self, tmp_path: Path, fps: int):
        writer = self.write(tmp_path / "out.gif", frames=fps, fps=fps)
        assert (writer.frames, writer.size, writer.warnings) == (fps, (65, 63), [])
        assert [path.name for path in tmp_path.iterdir()] == ["out.gif"]
        assert is_marked_synthetic(tmp_path / "out.gif")
        with VideoReader(tmp_path / "out.gif") as video:
            frames = list(video)
        assert video.size == (65, 63)
        assert float(frames[-1].time + frames[-1].duration) == pytest.approx(1, abs=0.05)
        assert np.abs(frames[0].image[30, 10].astype(int) - (220, 40, 40)).max() < 25

    def test_the_square_moves(self, tmp_path: Path):
        self.write(tmp_path / "out.gif", fps=25)
        with Image.open(tmp_path / "out.gif") as image:
            assert image.info["loop"] == 0 and image.n_frames == 24
        with VideoReader(tmp_path / "out.gif") as video:
            frames = list(video)
        first, last = (np.argwhere(frame.image[..., 0] > 150)[:, 1].mean() for frame in (frames[0], frames[-1]))
        assert last == pytest.approx(first + 23, abs=2)

    def test_odd_names(self, tmp_path: Path):
        folder = tmp_path / 'an "odd" folder'
        folder.mkdir()
        self.write(folder / "it's ö 映像.gif")
        assert [path.name for path in folder.iterdir()] == ["it's ö 映像.gif"]

    @pytest.mark.parametrize(("name", "reason"), [("out.gif.txt", ".gif"), ("none/out.gif", "does not exist")])
    def test_bad_target(self, tmp_path: Path, name: str, reason: str):
        with pytest.raises(MediaError, match=reason):
            open_writer(tmp_path / name, (32, 32), 25)

    def test_audio_is_missed(self, make_clip, tmp_path: Path):
        writer = self.write(tmp_path / "out.gif", audio_from=make_clip("a.mp4", audio="aac", frames=5))
        assert len(writer.warnings) == 1 and "no audio" in writer.warnings[0]
        assert self.write(tmp_path / "b.gif", audio_from=make_clip("b.mp4", frames=5)).warnings == []

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_nothing_is_left_after(self, tmp_path: Path, error: type):
        with pytest.raises(error), open_writer(tmp_path / "out.gif", (32, 32), 25) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8))
            raise error
        assert not list(tmp_path.iterdir())

    def test_no_frame(self, tmp_path: Path):
        with pytest.raises(MediaError, match="out.gif.*no frame"), open_writer(tmp_path / "out.gif", (32, 32), 25):
            pass
        assert not list(tmp_path.iterdir())

    def test_the_suffix_decides(self, tmp_path: Path):
        self.write(tmp_path / "out.mp4")
        with VideoReader(tmp_path / "out.mp4") as video:
            assert len(list(video)) == 24
        with pytest.raises(MediaError, match=r"\.webp or \.gif"):
            open_writer(tmp_path / "out.avi", (32, 32), 25)


class TestSideBySide:
    def test_heights_are_made_equal(self):
        red, green = np.zeros((50, 40, 3), np.uint8), np.zeros((100, 30, 3), np.uint8)
        red[..., 0], green[..., 1] = 255, 255
        row = side_by_side([red, green])
        assert row.shape == (100, 80 + 30, 3) and row.dtype == np.uint8
        assert (row[:, :80] == (255, 0, 0)).all() and (row[:, 80:] == (0, 255, 0)).all()
        assert side_by_side([red, green, red], height=10).shape == (10, 8 + 3 + 8, 3)

    def test_no_image(self):
        with pytest.raises(ValueError, match="empty"):
            side_by_side([])

    def test_in_one_stream(self, finished: Path, tmp_path: Path):
        with VideoReader(finished) as video:
            with VideoWriter(tmp_path / "row.mp4", (192, 64), video.fps, video.time_base) as writer:
                for frame in video:
                    writer.write(side_by_side([frame.image, frame.image]), frame.time)
        with VideoReader(tmp_path / "row.mp4") as video:
            frames = list(video)
        assert len(frames) == 25 and frames[-1].time == Fraction(24, 25)
        left, right = np.hsplit(frames[12].image.astype(int), 2)
        assert np.abs(left - right).mean() < 2


class TestMarks:
    XMP = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><e:DigitalSourceType>'
        "http://cv.iptc.org/newscodes/digitalsourcetype/{}</e:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>"
    )

    @pytest.mark.parametrize(
        ("kind", "synthetic"),
        [
            ("trainedAlgorithmicMedia", True),
            ("compositeWithTrainedAlgorithmicMedia", True),
            ("digitalCapture", False),
        ],
    )
    def test_of_other_programs(self, tmp_path: Path, kind: str, synthetic: bool):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", xmp=self.XMP.format(kind).encode())
        assert is_marked_synthetic(tmp_path / "a.jpg") == synthetic

    def test_of_an_unknown_file(self, tmp_path: Path):
        (tmp_path / "a.txt").write_text("trainedAlgorithmicMedia")
        with pytest.raises(MediaError):
            is_marked_synthetic(tmp_path / "a.txt")

    def test_only_metadata_counts(self, tmp_path: Path):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        with open(tmp_path / "a.png", "ab") as file:
            file.write(SYNTHETIC_TYPE.encode())  # behind the end of the image
        assert not is_marked_synthetic(tmp_path / "a.png")
