"""The program that measures false alarms of the mark."""

import json
import math

import numpy as np
import pytest

from tests.clips import portrait, write_face_clip
from training.tools import measure_alarms
from vivface.errors import MediaError
from vivface.media import save_image
from vivface.provenance import add_mark


def test_searches_of_unmarked_media_are_kept_and_gone_on_with(tmp_path, capsys):
    clip, photo, shard = tmp_path / "clip.mp4", tmp_path / "photo.png", tmp_path / "shard.npz"
    write_face_clip(clip, frames=3, size=128)
    save_image(photo, portrait()[:128, :128])
    coded = np.frombuffer(photo.read_bytes(), np.uint8)
    np.savez(shard, jpeg_bytes=coded, jpeg_offsets=np.array([0, len(coded)]))
    arguments = [str(clip), str(photo), str(shard), "--scores", str(tmp_path / "scores.jsonl")]
    measure_alarms.main([*arguments, "--count", "3"])
    before = (tmp_path / "scores.jsonl").read_text()
    measure_alarms.main([*arguments, "--count", "6"])
    lines = (tmp_path / "scores.jsonl").read_text()
    assert lines.startswith(before) and lines.count("\n") == 6
    kinds = [json.loads(line)["kind"] for line in lines.splitlines()]
    assert [kind == "drawing" for kind in kinds] == [True, False, False, False, False, True]
    out = capsys.readouterr().out
    assert "| all | 6 | 0 |" in out and "Counted: 0 in 6" in out and "Extrapolated by that tail" in out


def test_a_mark_counts_as_an_alarm(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_alarms, "DRAWINGS", 100)
    monkeypatch.setattr(measure_alarms, "window", lambda film, random: film)
    save_image(tmp_path / "marked.png", add_mark(portrait(), 7))
    searches = measure_alarms.measure([tmp_path / "marked.png"], 3, seed=0)
    assert [search.kind for search in searches] == ["drawing", "photo", "photo"]
    assert [search.found for search in searches] == [False, True, True]
    assert searches[0].margin < 0 < searches[1].margin


def test_the_tail_of_a_known_distribution():
    margins = np.random.RandomState(0).exponential(1 / 0.9, 20_000) - 20
    true = math.exp(-0.9 * 20)
    likely, highest = measure_alarms.chance_beyond(margins, 0.0)
    assert true / 3 < likely < 3 * true < 10 * highest and highest > true
    assert measure_alarms.chance_beyond(margins, -15)[0] == pytest.approx((margins > -15).mean(), rel=0.2)


def test_drawings_are_of_every_kind():
    pictures = [measure_alarms.drawing(np.random.RandomState(seed), 96) for seed in range(20)]
    assert all(picture.shape == (96, 96, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 20


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", values=np.zeros(3))
    with pytest.raises(MediaError, match="no shard"):
        measure_alarms.measure([tmp_path / "other.npz"], 1, seed=0)
