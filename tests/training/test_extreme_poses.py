"""The benchmark of extreme poses: which pairs, what is measured, what is written."""

import json

import cv2
import numpy as np
import pytest

from tests.training.people import write_people
from training.data.shards import GroupShards
from training.tools.extreme_poses import MEASURES, Frame, Reading, draw_pairs, main, markdown, score
from vivface.errors import OptionError
from vivface.faces.state import STATE_NAMES


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """Four drawn people of two groups, their heads said to be turned by -40, -24, ... 40 degrees."""
    folder = write_people(tmp_path_factory.mktemp("turned") / "people", groups=2, people=2, frames=6)
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        pose = np.zeros((6, 3), np.float32)
        pose[:, 0] = np.linspace(-40, 40, 6)
        np.savez(path, **arrays | {"pose": pose})
    return folder


class TestPairs:
    def test_are_of_two_people_far_apart(self, turned):
        pairs = draw_pairs(GroupShards([turned]), 1000, 15.0, seed=0)
        # Differences of the mean of three angles: 80, 64 and 48 degrees of yaw are more than 15
        assert len(pairs) == 12 * (2 + 4 + 6)
        for source, driver in pairs:
            assert source.record.seed != driver.record.seed
            assert np.abs(source.record.pose[source.index] - driver.record.pose[driver.index]).mean() > 15

    def test_are_drawn_by_the_seed(self, turned):
        shards = GroupShards([turned])

        def names(seed: int) -> list:
            return [(s.record.seed, s.index, d.record.seed, d.index) for s, d in draw_pairs(shards, 5, 15.0, seed)]

        assert names(0) == names(0) != names(1) and len(set(names(0))) == 5

    def test_too_few_are_refused(self, turned):
        with pytest.raises(OptionError, match="show 0 pairs that differ by 90 degrees"):
            draw_pairs(GroupShards([turned]), 5, 90.0, seed=0)

    def test_pose_is_against_the_crop(self, turned):
        record = GroupShards([turned]).records()[0]
        frame = Frame(record, 1, np.zeros((96, 96, 3), np.uint8))
        assert frame.pose[0] == pytest.approx(-24, abs=3) and frame.crop(32).shape == (32, 32, 3)


class TestScore:
    def reading(self, yaw: float, mouth: float, person: float) -> Reading:
        state = np.zeros(len(STATE_NAMES), np.float32)
        state[STATE_NAMES.index("yaw")], state[STATE_NAMES.index("mouth_open")] = yaw, mouth
        state[STATE_NAMES.index("pitch")] = yaw / 2
        state[STATE_NAMES.index("lid_left")] = mouth / 3
        return Reading(state, np.full(128, person))

    def rows(self, gain: float, person: float) -> list:
        return [
            (self.reading(gain * yaw, gain * mouth, person), self.reading(0, 0, 0.0), self.reading(yaw, mouth, 1.0),
             np.array([yaw, yaw / 2, 0.0]))
            for yaw, mouth in ((-30.0, 0.1), (10.0, 0.3), (25.0, 0.2))
        ]  # fmt: skip

    def test_the_driver_itself_moves_right_and_is_the_wrong_person(self):
        scores = score(self.rows(1.0, 1.0))
        assert scores.keys() == MEASURES.keys()
        assert scores["pose distance"] == scores["expression distance"] == scores["nearer to source"] == 0
        assert scores["yaw correlation"] == pytest.approx(1) and scores["mouth correlation"] == pytest.approx(1)

    def test_half_the_motion_of_the_right_person(self):
        scores = score(self.rows(0.5, 0.2))
        assert scores["pose distance"] == pytest.approx(np.mean([15, 7.5, 0, 5, 2.5, 0, 12.5, 6.25, 0]))
        assert scores["nearer to source"] == 1
        assert scores["identity distance"] == pytest.approx(0.2 * np.sqrt(128))

    def test_faces_that_are_not_found(self):
        rows = self.rows(1.0, 0.0)
        scores = score([*rows, (Reading(None, None), *rows[0][1:])])
        assert scores["face found"] == 0.75 and scores["yaw correlation"] == pytest.approx(1)

    def test_the_table_shows_all(self):
        text = markdown({"driver": score(self.rows(1.0, 1.0)), "vivface": score(self.rows(0.5, 0.2))})
        assert text.count("\n") == 2 + len(MEASURES) and "| nearer to source ↑ | 0 | 1 |" in text


def test_writes_table_plot_and_sheet(turned, tmp_path, capsys):
    main(
        ["--folders", str(turned), "--output", str(tmp_path), "--pairs", "2", "--systems", "hyperreenact", "inversion"]
    )
    content = json.loads((tmp_path / "table.json").read_text())
    assert content["pairs"] == 2 and list(content["scores"]) == ["driver", "hyperreenact", "inversion"]
    assert "face found" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "plot.png")).std() > 0
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (128, 2 * 4 * 128, 3)
