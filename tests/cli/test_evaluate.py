"""`vivface evaluate`: tables on a folder, resumed pair by pair."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.clips import write_face_clip
from tests.tiny import make_tiny_hybrid, make_tiny_hyperreenact, make_tiny_pipeline
from vivface.cli.evaluation import write_reversed
from vivface.media import VideoReader, VideoWriter, load_image


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    make_tiny_pipeline(recognizer=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory, face_clip) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    shutil.copy(face_clip, folder / "a.mp4")
    write_face_clip(folder / "b.mp4", frames=12)
    return folder


@pytest.fixture
def evaluate(run_cli, checkpoint, tmp_path):
    def run(media: Path, *options: object, output: Path = tmp_path / "out"):
        common = ("--checkpoint", checkpoint, "--frames", 8, "--adapt", 0, "--device", "cpu", "-o", output)
        return (*run_cli("evaluate", media, *common, *options), output)

    return run


def test_same_writes_tables_and_images(evaluate, videos):
    status, out, err, folder = evaluate(videos)
    assert status == 0, err
    assert "| PSNR" in out and "22.32" in out and (folder / "table.md").read_text() == out.removesuffix("\n")
    table = json.loads((folder / "table.json").read_text())
    assert [row["frames"] for row in table["rows"]] == [8, 8]
    assert set(table["mean"]) >= {"L1", "PSNR", "SSIM", "feature distance (recognizer)", "face found"}
    assert "CSIM" not in table["mean"] and "CSIM" in table["missing"]
    index = json.loads((folder / "model-index.json").read_text())["model-index"]
    assert {m["name"] for r in index[0]["results"] for m in r["metrics"]} == set(table["mean"])
    assert all(load_image(folder / name).std() > 0 for name in ("sheet.png", "plots/a.png"))


def test_evaluations_are_compared(evaluate, videos, tmp_path, capsys):
    from training.tools.compare_systems import main
    from vivface.errors import OptionError

    evaluate(videos, output=tmp_path / "generator")
    status, _, err, _ = evaluate(videos, "--detail", output=tmp_path / "photograph")
    assert status == 0, err
    main([str(tmp_path / "generator"), str(tmp_path / "photograph"), "-o", str(tmp_path / "table.md")])
    table = (tmp_path / "table.md").read_text()
    psnr = next(line for line in table.splitlines() if line.startswith("| PSNR")).split("|")
    assert float(psnr[3]) > float(psnr[2]) + 3  # the photograph moves little; the tiny generator draws noise
    assert "- photograph: 2 of 2 pairs scored, 16 frames" in table
    with pytest.raises(OptionError, match="holds no table.json"):
        main([str(tmp_path), "-o", str(tmp_path / "table.md")])


def test_scores_are_of_the_frames_that_were_made(evaluate, videos, checkpoint):
    """PSNR once more, from the pipeline's own crops and frames."""
    from vivface import load_pipeline
    from vivface.reenactment.driving import DrivingVideo

    _, _, _, folder = evaluate(videos)
    row = json.loads((folder / "table.json").read_text())["rows"][1]
    pipeline = load_pipeline(checkpoint)
    pipeline.set_progress_bar_config(disable=True)
    frames = list(pipeline(folder / "sources" / "b_000.png", pipeline.encode_motion(videos / "b.mp4", max_frames=8)))
    reader = VideoReader(videos / "b.mp4", max_frames=8)
    crops = [f.crop for f in DrivingVideo(reader, pipeline.backend, 256, pipeline.config.crop).frames([])]
    import cv2

    values = []
    for crop, frame in zip(crops, frames, strict=True):
        error = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_CUBIC).astype(float) - crop
        values.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert row["scores"]["PSNR"] == pytest.approx(np.mean(values), abs=1e-3)


def test_a_stopped_run_goes_on(evaluate, videos, monkeypatch):
    from vivface.metrics.scoring import PairScorer

    whole = evaluate(videos)[3]
    stopped = whole.parent / "stopped"
    update, seen = PairScorer.update, []

    def stop_in_the_second_pair(self, driving, result):
        seen.append(1)
        if len(seen) == 12:
            raise KeyboardInterrupt
        return update(self, driving, result)

    with monkeypatch.context() as patch:
        patch.setattr(PairScorer, "update", stop_in_the_second_pair)
        assert evaluate(videos, output=stopped)[0] != 0
    assert not (stopped / "results" / "b.mp4").exists()
    status, _, err, _ = evaluate(videos, output=stopped)
    assert status == 0 and "a: done before" in err
    first, second = (json.loads((folder / "table.json").read_text()) for folder in (whole, stopped))
    assert first["rows"] == second["rows"]
    assert first["mean"] == pytest.approx(second["mean"])


def test_other_settings_need_another_folder(evaluate, videos):
    evaluate(videos)
    status, _, err, _ = evaluate(videos, "--protocol", "cross")
    assert status == 2 and "other settings" in err
    assert evaluate(videos, "--protocol", "cross", "--overwrite")[0] == 0


def test_a_pair_that_fails_does_not_stop_the_others(evaluate, videos, tmp_path):
    media = tmp_path / "media"
    media.mkdir()
    shutil.copy(videos / "b.mp4", media)
    with VideoWriter(media / "gray.mp4", (64, 64), 25) as writer:
        for _ in range(4):
            writer.write(np.full((64, 64, 3), 128, np.uint8))
    status, out, _, folder = evaluate(media)
    assert status == 0 and "1 of 2 pairs scored" in out
    rows = json.loads((folder / "table.json").read_text())["rows"]
    assert "scores" in rows[0] and "No face" in rows[1]["error"]


def test_robustness_and_reverse(evaluate, videos, tmp_path):
    status, out, err, folder = evaluate(videos, "--protocol", "robustness", "--count", 2)
    assert status == 0 and " ± " in out, err
    assert len(list((folder / "sources").iterdir())) == 4
    assert load_image(folder / "heat_map.png").std() > 0
    table = json.loads((folder / "table.json").read_text())
    for row in table["rows"]:  # the error map is what L1 averages: [-1, 1] is twice as fine as 255
        error = np.load(folder / "errors" / f"{row['name']}.npy")
        assert error.mean() * 2 / 255 == pytest.approx(row["scores"]["L1"], rel=0.02)
    assert "Frechet distance (recognizer)" in table["spread"]
    status, out, err, _ = evaluate(videos, "--protocol", "reverse", output=tmp_path / "reverse")
    assert status == 0 and "forward | reverse" in out, err


@pytest.mark.parametrize("make", [make_tiny_hybrid, make_tiny_hyperreenact])
def test_robustness_of_other_systems(run_cli, videos, tmp_path, make):
    make().save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "videos").mkdir()
    shutil.copy(videos / "b.mp4", tmp_path / "videos")
    options = ("--checkpoint", tmp_path / "checkpoint", "--frames", 3, "--count", 2, "-o", tmp_path / "out")
    status, out, err = run_cli("evaluate", tmp_path / "videos", "--protocol", "robustness", "--device", "cpu", *options)
    assert status == 0 and " ± " in out, err
    assert load_image(tmp_path / "out" / "heat_map.png").std() > 0


def test_reversed_in_parts(tmp_path, monkeypatch):
    video = tmp_path / "in.mp4"
    with VideoWriter(video, (64, 64), 25, crf=5) as writer:
        for k in range(21):
            writer.write(np.full((64, 64, 3), 10 * k, np.uint8))
    monkeypatch.setattr("vivface.cli.evaluation.REVERSED_BYTES", 1)  # parts of 8 frames
    write_reversed(video, tmp_path / "out.mp4", 20)
    with VideoReader(tmp_path / "out.mp4") as reader:
        levels = [frame.image.mean() for frame in reader]
    assert levels == pytest.approx([10 * k for k in range(19, -1, -1)], abs=4)


def test_a_folder_with_other_files_is_left_alone(evaluate, videos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    status, _, err, _ = evaluate(videos, "--overwrite")
    assert status == 2 and "other files" in err and (tmp_path / "out" / "thesis.txt").exists()


def test_a_damaged_state_is_one_sentence(evaluate, videos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "state.pt").write_bytes(b"nothing")
    status, _, err, _ = evaluate(videos)
    assert status == 2 and "damaged" in err
