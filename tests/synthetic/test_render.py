"""Rendered shards and clips: repeatable, resumable, what training reads, and faces for a detector."""

import os
from pathlib import Path

import numpy as np
import pytest

from training.data import GroupShards
from training.synthetic import render, shards
from training.synthetic.motion import controls_from, sample_motions
from vivface.errors import BackendError, OptionError

FRAMES, SIZE, SEED = 3, 160, 900_131
FIELDS = {
    "jpeg_bytes", "jpeg_offsets", "landmarks", "neutral_landmarks", "controls", "control_names", "pose",
    "person_seed", "group", "size",
}  # fmt: skip


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as shard:
        return {name: shard[name] for name in shard.files}


@pytest.fixture(scope="module")
def render_people(kit, opengl, assets_dir: Path, cache_dir: Path):
    """Render a group of two people into a folder, in this process."""

    def run(folder: Path) -> None:
        render.main(
            ["--assets", str(assets_dir), "--cache", str(cache_dir), "--out", str(folder), "--group-size", "2"]
            + ["--frames", str(FRAMES), "--size", str(SIZE), "--seed", str(SEED), "--workers", "1"]
        )

    return run


@pytest.fixture(scope="module")
def folder(render_people, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of a group of two people."""
    folder = tmp_path_factory.mktemp("people")
    render_people(folder)
    return folder


class TestShards:
    def test_one_file_a_person_with_all_fields(self, folder: Path):
        assert sorted(p.name for p in folder.iterdir()) == ["g00000_p00.npz", "g00000_p01.npz"]
        shard = read(folder / "g00000_p01.npz")
        assert set(shard) == FIELDS
        assert shard["jpeg_offsets"][0] == 0 and shard["jpeg_offsets"][-1] == len(shard["jpeg_bytes"])
        assert len(shard["jpeg_offsets"]) == FRAMES + 1
        assert (int(shard["person_seed"]), int(shard["group"]), int(shard["size"])) == (SEED + 1, 0, SIZE)

    def test_people_of_a_group_perform_the_same_motions(self, folder: Path):
        a, b = read(folder / "g00000_p00.npz"), read(folder / "g00000_p01.npz")
        controls, pose = sample_motions(SEED, FRAMES)
        for shard in (a, b):
            np.testing.assert_array_equal(shard["controls"], controls)
            np.testing.assert_array_equal(shard["pose"], pose)
        assert np.abs(a["neutral_landmarks"] - b["neutral_landmarks"]).max() > 1

    def test_training_reads_them(self, folder: Path):
        shards = GroupShards([folder], rescan_seconds=0)
        people = shards.records()
        expected = [(SEED + k, (folder, 0), SIZE, FRAMES) for k in (0, 1)]
        assert [(p.seed, p.group, p.size, p.frames) for p in people] == expected
        raw = read(people[0].path)
        assert shards.control_names == tuple(raw["control_names"])
        np.testing.assert_array_equal(people[0].landmarks, raw["landmarks"])
        pictures = [shards.image(people[0], frame) for frame in range(FRAMES)]
        assert {picture.shape for picture in pictures} == {(SIZE, SIZE, 3)}
        assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 1

    def test_a_second_run_makes_only_what_is_missing_and_makes_it_alike(self, folder: Path, render_people):
        kept, lost = folder / "g00000_p00.npz", folder / "g00000_p01.npz"
        before, first = kept.stat().st_mtime_ns, read(lost)
        lost.unlink()
        half_written = folder / ".g00000_p01.4242.part"
        half_written.write_bytes(b"PK")
        render_people(folder)
        assert sorted(p.name for p in folder.iterdir()) == [kept.name, lost.name]
        assert kept.stat().st_mtime_ns == before
        again = read(lost)
        for name in FIELDS:
            np.testing.assert_array_equal(first[name], again[name], err_msg=name)

    def test_a_shard_that_cannot_be_finished_is_not_there_at_all(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        shard = read(folder / "g00000_p00.npz")
        clip = shard | {"frames": np.zeros((1, 8, 8, 3), np.uint8)}

        def full_disk(file, **arrays):
            file.write(b"PK")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(shards.np, "savez", full_disk)
        with pytest.raises(OSError, match="No space left"):
            render.write_shard(tmp_path / "g00000_p00.npz", clip, 0)
        assert not list(tmp_path.iterdir())

    def test_numbers_out_of_range_are_refused(self, tmp_path: Path):
        with pytest.raises(OptionError, match="--frames is 0, expected 1 or more"):
            render.main(["--out", str(tmp_path), "--frames", "0"])


def note(folder: Path, name: str) -> None:
    """Leave a file; the first process that is to write "b" dies like one whose driver has a fault."""
    if name == "b" and not (folder / "crashed").exists():
        (folder / "crashed").touch()
        os.abort()
    (folder / name).touch()


def die(folder: Path, name: str) -> None:
    os.abort()


def refuse(folder: Path, name: str) -> None:
    raise OptionError(f"{name} is refused")


class TestProcesses:
    def test_a_crash_costs_nothing_but_time(self, tmp_path: Path, capfd: pytest.CaptureFixture):
        shards.in_processes(note, [(tmp_path, name) for name in "abcd"], workers=1)
        assert {path.name for path in tmp_path.iterdir()} == {*"abcd", "crashed"}
        assert "a process crashed; continuing with the remaining" in capfd.readouterr().out

    def test_crashes_without_end_are_reported(self, tmp_path: Path):
        with pytest.raises(BackendError, match="crashed at the first of 2 people"):
            shards.in_processes(die, [(tmp_path, name) for name in "ab"], workers=2)

    def test_errors_reach_the_user(self, tmp_path: Path):
        with pytest.raises(OptionError, match="a is refused"):
            shards.in_processes(refuse, [(tmp_path, name) for name in "ab"], workers=2)


@pytest.fixture(scope="module")
def clip(kit, opengl, assets_dir: Path, cache_dir: Path) -> dict:
    """A woman at rest, with her mouth open and eyes shut, and turned."""
    controls = np.stack([controls_from(), controls_from(jaw_open=0.8, blink=1.0), controls_from()])
    pose = np.array([[0, 0, 0], [0, 0, 0], [20, 5, 6]], np.float32)
    return render.render_clip(
        SEED, 0, 3, size=256, supersample=1, motion=(controls, pose), assets=str(assets_dir), cache=str(cache_dir)
    )


class TestPictures:
    def test_frames_are_pictures(self, clip: dict):
        frames = clip["frames"]
        assert frames.shape == (3, 256, 256, 3) and frames.dtype == np.uint8
        for frame in frames:
            assert frame.std() > 15
            assert 30 < frame.mean() < 225
        assert np.abs(frames[0].astype(int) - frames[2]).mean() > 2

    def test_the_background_stays(self, clip: dict):
        corner = clip["frames"][:, :16, :16].astype(int)
        np.testing.assert_array_equal(corner[0], corner[1])
        np.testing.assert_array_equal(corner[0], corner[2])

    def test_a_detector_finds_the_face_where_the_truth_says(self, clip: dict):
        from vivface.faces.backends import get_backend

        backend = get_backend("dlib")
        for index in (0, 2):
            faces = backend.detect(clip["frames"][index])
            assert len(faces) == 1
            truth = clip["landmarks"][index]
            apart = np.linalg.norm(truth[36:42].mean(0) - truth[42:48].mean(0))
            error = np.linalg.norm(faces[0].landmarks - truth, axis=1)[17:]  # the jaw line is another convention
            assert error.mean() < 0.12 * apart

    def test_a_neutral_frontal_frame_has_the_neutral_landmarks(self, clip: dict):
        np.testing.assert_allclose(clip["landmarks"][0], clip["neutral_landmarks"], atol=0.6)

    def test_an_open_mouth_and_shut_eyes_are_seen(self, clip: dict):
        rest, open_ = clip["frames"][:2].astype(float)
        points = clip["landmarks"][1].round().astype(int)
        mouth = (slice(points[62, 1], points[66, 1]), slice(points[60, 0] + 6, points[64, 0] - 6))
        assert np.abs(rest[mouth] - open_[mouth]).mean() > 10
        eye = clip["landmarks"][0][36:42].round().astype(int)
        lids = (slice(eye[:, 1].min(), eye[:, 1].max()), slice(eye[:, 0].min() + 2, eye[:, 0].max() - 2))
        assert open_[lids].std() < rest[lids].std()

    @pytest.fixture
    def landmarks_at_rest_and(self, kit, opengl, assets_dir: Path, cache_dir: Path):
        """Landmarks of somebody at rest and with an expression, `(2, 68, 2)`: as seen by a detector, and the truth."""
        from vivface.faces.backends import get_backend

        def render_both(seed: int, **expression: float) -> tuple[np.ndarray, np.ndarray]:
            motion = np.stack([controls_from(), controls_from(**expression)]), np.zeros((2, 3), np.float32)
            made = render.render_clip(seed, 0, 2, size=256, motion=motion, assets=str(assets_dir), cache=str(cache_dir))
            seen = np.stack([get_backend("dlib").detect(frame)[0].landmarks for frame in made["frames"]])
            return seen, made["landmarks"]

        return render_both

    @pytest.mark.parametrize("seed", [900_118, 901_004, 901_014])
    def test_a_detector_sees_how_far_a_mouth_opens(self, seed: int, landmarks_at_rest_and):
        """It takes a tongue as light as lips for the lower lip."""
        both = landmarks_at_rest_and(seed, jaw_open=0.7)
        found, true = ((points[:, 66, 1] - points[:, 62, 1]) for points in both)
        assert np.ptp(found) > 0.55 * np.ptp(true)

    @pytest.mark.parametrize("seed", [901_001, 901_014, 901_017])
    def test_a_detector_sees_that_lids_are_shut(self, seed: int, landmarks_at_rest_and):
        """Without a dark line of lashes it finds half-open eyes."""
        both = landmarks_at_rest_and(seed, blink=1.0)
        lower, upper = [41, 40, 47, 46], [37, 38, 43, 44]
        found, true = ((points[:, lower, 1] - points[:, upper, 1]).mean(1) for points in both)
        assert np.ptp(found) > 0.45 * np.ptp(true)
