"""Pairs, scores, tables and contact sheets of the evaluation, and its program."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from training.evaluation.pairs import Pair, pairs_of_folders, pairs_of_people, render_people
from training.evaluation.scores import closer_share, compare_streams, load_scorer, score, summarise
from training.evaluation.sheet import contact_sheet
from training.evaluation.tables import format_means, format_pairs, mean_table
from training.evaluation.videos import ground_truth_maker
from training.tools import evaluate
from vivface.errors import OptionError
from vivface.media import VideoReader, VideoWriter, save_image


def measure(r: float | None, gain: float | None = 1.0, active: bool = True) -> dict:
    return {"r": r, "gain": gain, "driving_active": active}


def report(mode: str = "cross") -> dict:
    """A report of the scoring program, with what the tables need."""
    expression = {"mouth_open": measure(0.8, 0.7), "ear_l": measure(0.6), "ear_r": measure(0.4, active=False)}
    pose = {"yaw": measure(0.95), "pitch": measure(None, None), "roll": measure(None, None, active=False)}
    return {
        "inputs": {"mode": mode},
        "detection": {"output": 0.9},
        "dlib": {
            "expression": {"per_measure": expression},
            "pose": {"per_measure": pose},
            "stability": {"jitter_ratio": 1.2},
        },
        "sharpness": {"ratio_source": 0.5},
        "identity": {"l2": 0.4},
        "image": {"clip": {"psnr": 24.0}, "frame": {"psnr": 26.0}},
    }


def write_video(path: Path, shades: list[int], times: list[Fraction] | None = None, size=(32, 24)) -> Path:
    with VideoWriter(path, size, 25) as writer:
        for number, shade in enumerate(shades):
            writer.write(np.full((size[1], size[0], 3), shade, np.uint8), times[number] if times else None)
    return path


class TestScores:
    def test_what_the_driver_does_not_move_is_not_counted(self):
        row = summarise(report())
        assert row["yaw"] == 0.95
        assert row["roll"] is None
        assert row["eye_open"] == 0.6  # the other eye hardly moved
        assert row["mouth_open_gain"] == 0.7

    def test_an_output_that_stands_still_counts_as_zero(self):
        assert summarise(report())["pitch"] == 0.0

    def test_pictures_are_compared_only_where_the_truth_is_known(self):
        assert "psnr_same" not in summarise(report("cross"))
        assert summarise(report("same"))["psnr_same"] == 24.0

    def test_a_clip_that_cannot_be_scored_keeps_its_reason(self):
        row = summarise({"inputs": {"mode": "cross"}, "detection": {"output": 0.0}, "error": "no faces"})
        assert row == {"mode": "cross", "face_found": 0.0, "error": "no faces"}

    def test_closer_share_counts_frames_with_both_faces(self):
        source, found = np.zeros(4), np.array([True, True, True, False])
        driver = np.ones((4, 4))
        output = np.array([[0.1] * 4, [0.2] * 4, [0.9] * 4, [0.9] * 4])
        assert closer_share(source, driver, output, found, found) == pytest.approx(2 / 3)
        assert closer_share(source, driver, output, found, ~found) == 0.0


class TestStreams:
    def test_the_same_file(self, face_clip: Path):
        assert compare_streams(face_clip, face_clip) == {
            "frames": 21, "same_frames": 1.0, "same_times": 1.0, "same_audio": 1.0,
        }  # fmt: skip

    def test_lost_sound_lost_frames_and_other_times(self, face_clip: Path, tmp_path: Path):
        silent = write_video(tmp_path / "silent.mp4", [0] * 21)
        assert compare_streams(face_clip, silent)["same_audio"] == 0.0
        assert compare_streams(face_clip, silent)["same_times"] == 1.0
        short = write_video(tmp_path / "short.mp4", [0] * 20)
        assert compare_streams(silent, short)["same_frames"] == 0.0
        slow = write_video(tmp_path / "slow.mp4", [0] * 21, [Fraction(n, 24) for n in range(21)])
        compared = compare_streams(silent, slow)
        assert (compared["same_frames"], compared["same_times"]) == (1.0, 0.0)


class TestTables:
    ROWS = [
        {"name": "a__b", "yaw": 0.9, "face_found": 1.0, "same_frames": 1.0, "same_times": 1.0, "same_audio": 0.0},
        {"name": "a__long", "yaw": None, "face_found": 0.5, "same_frames": 1.0, "same_times": 1.0, "same_audio": 1.0},
        {"name": "c__d", "face_found": 0.0, "error": "no face was found"},
    ]

    def test_means_are_over_rows_that_have_the_number(self):
        table = mean_table(self.ROWS)
        assert table["yaw"] == 0.9
        assert table["face_found"] == 0.5
        assert table["failed"] == 1.0
        assert "name" not in table and "error" not in table

    def test_means_are_shown_with_their_goals(self):
        lines = format_means({"yaw": 0.9, "pitch": 0.5, "roll": 0.1}, {"yaw": 0.9, "pitch": 0.8}).splitlines()
        assert lines[1].split() == ["yaw", "0.900", "0.9", "ok"]
        assert lines[2].split() == ["pitch", "0.500", "0.8", "below"]
        assert lines[3].split() == ["roll", "0.100"]

    def test_pairs_are_shown_one_a_line(self):
        head, first, second, third = format_pairs(self.ROWS, {"face_found": 0.95}).splitlines()
        assert first.split() == ["a__b", "1.000", "0.900", *"-------", "ok", "ok", "DIFFERS"]
        assert second.split()[:3] == ["a__long", "0.500!", "-"]
        assert third.split(maxsplit=1) == ["c__d", "no face was found"]
        assert head.index("face_found") + len("face_found") == first.index("1.000") + 5


class TestPairs:
    def test_everybody_drives_somebody_else_and_themselves(self):
        people = [(Path(f"{n}.png"), Path(f"{n}.mp4")) for n in range(20)]
        own = [(Path(f"{n}.png"), Path(f"{n}.own.mp4")) for n in range(20)]
        pairs = pairs_of_people(people, own)
        cross = [p for p in pairs if p.mode == "cross"]
        assert len(pairs) == 40 and len(cross) == 20
        assert all(p.source.stem != p.driving.stem for p in cross)
        assert [(p.source, p.driving) for p in pairs if p.mode == "same"] == own
        assert len({p.name for p in pairs}) == 40

    def test_every_picture_with_every_video(self, tmp_path: Path):
        for name in ("b.JPG", "a.png", "notes.txt", "x.mp4", "y.mov"):
            (tmp_path / name).touch()
        names = [p.name for p in pairs_of_folders(tmp_path, tmp_path)]
        assert names == ["a__x", "a__y", "b__x", "b__y"]

    def test_a_folder_without_media_is_refused(self, tmp_path: Path):
        with pytest.raises(OptionError, match="no folder with images"):
            pairs_of_folders(tmp_path, tmp_path)
        with pytest.raises(OptionError, match="no folder with images"):
            pairs_of_folders(tmp_path / "missing", tmp_path)


class TestSheet:
    def test_source_driving_and_output_are_where_they_belong(self, tmp_path: Path):
        save_image(tmp_path / "source.png", np.full((40, 40, 3), (250, 0, 0), np.uint8))
        driving = write_video(tmp_path / "driving.mp4", [20, 60, 100], size=(32, 32))
        output = write_video(tmp_path / "output.mp4", [120, 160, 200], size=(32, 32))
        pair = Pair("pair", tmp_path / "source.png", driving)
        sheet = contact_sheet([(pair, output)] * 3, columns=2, size=32, count=3)
        height, width = 18 + 2 * 32, (2 + 3) * 32
        assert sheet.shape == (2 * height, 2 * width, 3)
        assert sheet[18 + 32, 32].tolist() == [250, 0, 0]
        levels = sheet[[[18 + 16], [18 + 48]], [64 + 16, 64 + 48, 64 + 80], 1].astype(int)
        np.testing.assert_allclose(levels, [[20, 60, 100], [120, 160, 200]], atol=3)
        assert (sheet[height:, width:] == 255).all()  # there is no fourth pair


class TestProgram:
    def test_rendered_people_are_kept(self, tmp_path: Path):
        expected = []
        for seed in (901_000, 901_001):
            portrait, clip = (tmp_path / f"{seed}_64px_12frames_25fps{end}" for end in (".png", ".mp4"))
            portrait.touch(), clip.touch()
            expected.append((portrait, clip))
        nowhere = tmp_path / "no assets are needed"
        assert render_people(tmp_path, 2, 12, 25, 64, nowhere) == expected

    def test_options_are_checked_before_any_work(self, tmp_path: Path):
        with pytest.raises(OptionError, match="--scorer is missing"):
            evaluate.main(["--output", str(tmp_path)])
        with pytest.raises(OptionError, match="--own-frames 3, expected at least"):
            evaluate.main(["--render-only", "--own-frames", "3"])
        with pytest.raises(OptionError, match="expected the Python file"):
            load_scorer(tmp_path / "missing.py")
        (tmp_path / "empty.py").write_text("Models = object\n")
        with pytest.raises(OptionError, match="has no 'analyse'"):
            load_scorer(tmp_path / "empty.py")

    def test_ground_truth_is_cropped_as_driving_videos_are(self, face_clip: Path, tmp_path: Path):
        clip, output = tmp_path / "901000_clip.mp4", tmp_path / "out.mp4"
        shutil.copyfile(face_clip, clip)
        options = evaluate.parse_arguments(["--ground-truth", "--scorer", "scorer.py"])
        pair = Pair("x", clip.with_suffix(".png"), clip, "same")
        assert ground_truth_maker(options, tmp_path)(pair, output) == {}  # a render's speed says nothing
        cut, whole = ([frame.image for frame in VideoReader(path)] for path in (output, clip))
        assert len(cut) == len(whole) and {frame.shape for frame in cut} == {(128, 128, 3)}
        with pytest.raises(OptionError, match="--ground-truth was given with --pairs"):
            evaluate.parse_arguments(["--ground-truth", "--pairs", "a", "b", "--scorer", "scorer.py"])

    def test_a_perfect_re_enactment_scores_perfectly(self, shared_dir: Path, portrait: Path, face_clip: Path, tmp_path):
        tool = shared_dir / "tools" / "evaluate.py"
        if not tool.is_file():
            pytest.skip("needs the scoring program of the development data")
        scorer = load_scorer(tool)
        models = scorer.Models()
        for mode in ("same", "cross"):
            row = score(Pair("x", portrait, face_clip, mode), face_clip, scorer, models, tmp_path)
            assert row["face_found"] == 1.0
            assert row["same_times"] == row["same_audio"] == 1.0
            assert row["id_l2"] < 0.4
            assert row["jitter_ratio"] == pytest.approx(1.0)
            if mode == "same":
                assert row["psnr_same"] > 40
            else:
                assert row["closer_to_source"] == 0.0  # the result is the driver, frame by frame
