"""The comparison of tunings: equal time, resumed pair by pair, and its table."""

import json

import pytest

from tests.tiny import make_tiny_hybrid
from training.evaluation.pairs import Pair
from training.evaluation.tunings import read_report, tunings_table
from training.tools import compare_tunings
from vivface.errors import MediaError, OptionError
from vivface.media import VideoReader


def measure(r: float | None, gain: float | None = 1.0, active: bool = True) -> dict:
    return {"r": r, "gain": gain, "driving_active": active}


def report(mode: str = "cross") -> dict:
    """A report of the scoring program, with what the table needs."""
    expression = {"mouth_open": measure(0.8, 0.7), "ear_l": measure(0.6), "ear_r": measure(0.2), "brow": measure(0.1)}
    expression["brow"]["driving_active"] = False
    pose = {"yaw": measure(0.95, 0.9), "pitch": measure(None, None)}
    parts = {"expression": {"per_measure": expression}, "pose": {"per_measure": pose}}
    return {
        "inputs": {"mode": mode}, "dlib": parts, "identity": {"l2": 0.4, "margin": 0.2},
        "image": {"clip": {"psnr": 24.0}},
    }  # fmt: skip


def row(name: str, tuning: str, kind: str = "people", **values: float) -> dict:
    return {"name": name, "tuning": tuning, "kind": kind, "seconds": 10.0, "margin": 0.1, **values}


class TestTable:
    def test_report(self):
        made = read_report(report())
        assert (made["yaw"], made["yaw_gain"], made["eyes"], made["pitch"]) == (0.95, 0.9, pytest.approx(0.4), 0.0)
        assert "brows" not in made and "psnr" not in made  # the driver's hardly move; no truth
        assert read_report(report("same"))["psnr"] == 24.0
        with pytest.raises(MediaError, match="no faces"):
            read_report({"inputs": {"mode": "cross"}, "error": "no faces"})

    def test_means_and_duels(self):
        rows = [
            row("a", "none", id_l2=0.6, yaw=0.9, yaw_gain=1.0),
            row("a", "cma", id_l2=0.5, yaw=0.8, yaw_gain=0.8),
            row("b", "none", "photographs", id_l2=0.4),
            row("b", "cma", "photographs", id_l2=0.5),
            {"name": "c", "tuning": "cma", "kind": "people", "error": "No face."},
        ]
        table = tunings_table(rows, ["none", "cma"])
        lines = {tuple(line.split(" | ")[:2]): line.split(" | ") for line in table.splitlines() if " | " in line}
        assert lines["| people", "cma"][2:6] == ["1", "0.500", "0.100", "0.80 / 0.80 (1)"]
        assert lines["| photographs", "none"][3] == "0.400" and lines["| photographs", "none"][5] == "–"
        assert lines["| all", "none"][2:4] == ["2", "0.500"]
        assert (
            "- cma against none: identity better in 1 of 2 pairs, mean correlation of motions higher in 0 of 1" in table
        )
        assert "- c, cma: No face." in table


class TestProgram:
    @pytest.fixture(scope="class")
    def pipeline(self):
        return make_tiny_hybrid()

    @pytest.fixture(scope="class")
    def pairs(self, portrait, face_clip) -> list[Pair]:
        return [Pair("one", portrait, face_clip), Pair("two", portrait, face_clip, "same")]

    def test_clips_are_thinned_out(self, face_clip, tmp_path):
        thin = compare_tunings.thin_out(face_clip, tmp_path / "thin.mp4", 10)
        with VideoReader(thin) as reader, VideoReader(face_clip) as whole:
            frames = list(reader)
            assert len(frames) == 10 and reader.fps == whole.fps / 2

    def test_equal_time(self, pipeline, pairs):
        """As many steps as fit, so twice the time twice the steps, and none for none."""
        steps = compare_tunings.equal_steps(pipeline, pairs[0], ["none", "pti"], 0.5)
        more = compare_tunings.equal_steps(pipeline, pairs[0], ["pti"], 50.0)
        assert steps["none"] == 0 and 1 <= steps["pti"] < more["pti"]

    def test_a_tuning_that_needs_no_clip_is_made_once_and_a_stopped_run_goes_on(
        self, pipeline, pairs, tmp_path, monkeypatch
    ):
        tuned, tune = [], compare_tunings.tune

        def counted(*arguments):
            tuned.append((arguments[2].name, arguments[3]))
            return tune(*arguments)

        def score(pair, output):
            if pair.name == "two" and not (tmp_path / "again").exists():
                raise KeyboardInterrupt
            return {"id_l2": 0.5, "margin": 0.1} if output.name != "two_cma.mp4" else fail()

        def fail():
            raise MediaError("no face was found")

        monkeypatch.setattr(compare_tunings, "tune", counted)
        steps = {"none": 0, "pti": 1, "cma": 1}
        with pytest.raises(KeyboardInterrupt):
            compare_tunings.compare(pipeline, pairs, steps, tmp_path, score)
        assert [name for name in tuned if name[1] == "pti"] == [("one", "pti")]
        (tmp_path / "again").touch()
        tuned.clear()
        rows = compare_tunings.compare(pipeline, pairs, steps, tmp_path, score)
        assert {name for name, _ in tuned} == {"two"}
        assert [(r["name"], r["tuning"]) for r in rows] == [(n, t) for n in ("one", "two") for t in steps]
        assert rows[-1]["error"] == "no face was found"
        assert rows == [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]

    def test_options(self, tmp_path):
        for words, match in (
            (["--people", "1"], "nothing to compare"),
            (["--people", "2", "--frames", "3"], "frames is 3"),
        ):
            with pytest.raises(OptionError, match=match):
                compare_tunings.parse_arguments(["--scorer", "x.py", *words])
