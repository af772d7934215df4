"""Tables name the networks they were computed with, and the published numbers beside ours."""

import numpy as np
import pytest

from vivface.metrics.figures import MOST_ERROR, contact_sheet, heat_map, plot
from vivface.metrics.names import DIFFERENCES, METRICS, STAND_INS
from vivface.metrics.tables import by_run, card_metrics, comparison, markdown, means, model_index, spreads

STAND_IN = "identity similarity (recognizer)"


def row(name: str, run: int, **scores: float) -> dict:
    names = {"csim": STAND_IN, "psnr": "PSNR"}
    return {"name": name, "run": run, "scored": 10, "scores": {names[k]: v for k, v in scores.items()}}


@pytest.fixture
def rows() -> list[dict]:
    failed = {"name": "c", "run": 1, "error": "No face."}
    return [row("a", 0, csim=0.5, psnr=20.0), row("b", 1, csim=0.7, psnr=24.0), failed]


def line(table: str, name: str) -> list[str]:
    return next([cell.strip() for cell in x.split("|")[1:-1]] for x in table.splitlines() if x.startswith(f"| {name}"))


def test_means_leave_out_what_failed(rows):
    assert means(rows, {"FID": 3.0, "FVD": None}) == pytest.approx({"PSNR": 22.0, STAND_IN: 0.6, "FID": 3.0})
    assert means([], {}) == {}


def test_published_numbers_stand_beside_the_published_network_only(rows):
    table = markdown("same", rows, {}, {"CSIM": "no weights"}, "ours")
    assert line(table, "PSNR")[1:5] == ["22", "22.32", "21.7", "17.43"]
    assert line(table, "CSIM")[1:5] == ["–", "0.8", "0.73", "0.57"]
    assert "weights missing" in line(table, "CSIM")[5]
    assert line(table, STAND_IN)[1:5] == ["0.6", "–", "–", "–"]
    assert "- c: No face." in table and "- CSIM: no weights" in table and DIFFERENCES[0] in table
    assert "2 of 3 pairs scored, 20 frames" in table


def test_systems_stand_beside_one_another_and_the_published_numbers():
    table = comparison("same", {"one": {"PSNR": 20.0}, "two": {"PSNR": 25.0, STAND_IN: 0.5}})
    assert line(table, "metric")[:3] == ["metric", "one", "two"]
    assert line(table, "PSNR")[1:] == ["20", "25", "22.32", "21.7", "17.43"]
    assert line(table, STAND_IN)[1:] == ["–", "0.5", "–", "–", "–"]
    assert line(table, "CSIM")[1:] == ["–", "–", "0.8", "0.73", "0.57"]
    assert "jitter of driving" not in table


def test_other_protocols_have_no_published_column(rows):
    table = markdown("extreme", rows, {}, {}, "ours")
    assert "ViVFace" not in table


def test_robustness_shows_the_spread(rows):
    assert spreads(rows[:2])["PSNR"] == pytest.approx((22.0, 8**0.5))
    assert line(markdown("robustness", rows, {}, {}, "ours"), "PSNR")[1] == "22 ± 2.828"


def test_distances_of_runs_have_a_spread_too(rows):
    of_runs = {0: {"FID": 10.0}, 1: {"FID": 14.0, "FVD": None}}
    table = markdown("robustness", rows, {"FID": 11.0}, {}, "ours", of_runs)
    assert line(table, "FID")[1] == "12 ± 2.828"
    assert "LPIPS 0.029 ± 0.002" in table


def test_reverse_shows_both_directions(rows):
    assert by_run(rows)[1] == {"PSNR": 24.0, STAND_IN: 0.7}
    assert line(markdown("reverse", rows, {}, {}, "ours"), "PSNR")[1:4] == ["22", "20", "24"]


def test_stand_ins_never_have_the_name_of_what_they_stand_for():
    assert not set(STAND_INS) & set(STAND_INS.values())
    assert {*STAND_INS, *STAND_INS.values()} <= set(METRICS)


def test_model_index_and_card_entries(rows):
    ours = means(rows, {})
    index = model_index(ours, "same", "my model", "clips")
    assert index[0]["name"] == "my model"
    metrics = [m for result in index[0]["results"] for m in result["metrics"]]
    assert {m["name"]: m["value"] for m in metrics} == {"PSNR": 22.0, STAND_IN: 0.6}
    assert [m["name"] for m in card_metrics(ours, "same")] == ["PSNR (same)", f"{STAND_IN} (same)"]


def test_plot_is_an_image(tmp_path):
    from vivface.media import load_image

    plot(tmp_path / "a.png", "a", {"PSNR": [20.0, float("nan"), 21.0], "yaw of driving": [1, 2, 3]})
    assert load_image(tmp_path / "a.png").std() > 0


def test_heat_map_is_hot_where_the_error_is(tmp_path):
    """Half a picture in error for one of two sources: as much area half as hot in the mean, 0.71 in the deviation."""
    from matplotlib import colormaps

    from vivface.media import load_image

    error = np.zeros((64, 64), np.float32)
    error[:, :32] = MOST_ERROR
    heat_map(tmp_path / "a.png", [("clip", np.full((64, 64, 3), 255, np.uint8), {0: error, 1: 0 * error})], "title")
    image = load_image(tmp_path / "a.png").astype(float)
    colours = [255 * np.array(colormaps["inferno"](value)[:3]) for value in (1.0, 0.5, 0.5**0.5)]
    areas = [(np.abs(image - colour).sum(axis=2) < 8).sum() for colour in colours]
    assert min(areas) > 3000
    assert max(areas) < 1.25 * min(areas)  # some more on the colour bar


def test_contact_sheet_shows_both_videos(portrait, face_clip):
    sheet = contact_sheet([("a", portrait, face_clip, face_clip)], columns=1)
    assert sheet.shape == (18 + 192, 8 * 96, 3)
    driving, result = sheet[18:114, 192:], sheet[114:, 192:]
    assert (driving == result).all() and driving.std() > 10


def test_published_robustness_of_vivface_stands_beside_ours(rows):
    table = markdown("robustness", rows, {}, {"CSIM": "no weights"}, "ours")
    assert "ViVFace, CelebV-HQ + HDTF" in table and "ViVFace, Celeb " not in table
    assert line(table, "CSIM")[2] == "0.77 ± 0.05" and line(table, "AED")[2] == "4.6 ± 0.7"
