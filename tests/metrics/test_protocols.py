"""Who is driven by whom."""

from pathlib import Path

import pytest

from vivface.errors import OptionError
from vivface.metrics.protocols import Protocol, make_pairs


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in "abcdefg":
        (folder / f"{name}.mp4").touch()
    (folder / "notes.txt").touch()
    return folder


def test_same_drives_everybody_with_themselves(videos):
    pairs = make_pairs(Protocol.SAME, videos)
    assert [(p.source.stem, p.driving.stem) for p in pairs] == [(name, name) for name in "abcdefg"]
    assert all(p.truth and p.at == 0 for p in pairs)


def test_cross_uses_everybody_once_and_never_with_themselves(videos):
    pairs = make_pairs(Protocol.CROSS, videos, seed=1)
    assert sorted(p.source.stem for p in pairs) == sorted(p.driving.stem for p in pairs) == list("abcdefg")
    assert all(p.source != p.driving and not p.truth for p in pairs)
    assert pairs == make_pairs(Protocol.CROSS, videos, seed=1)
    assert pairs != make_pairs(Protocol.CROSS, videos, seed=2)


def test_cross_with_portraits(videos, tmp_path):
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    (portraits / "me.png").touch()
    pairs = make_pairs(Protocol.CROSS, videos, portraits)
    assert {p.source.name for p in pairs} == {"me.png"} and len(pairs) == 7
    with pytest.raises(OptionError, match="--sources"):
        make_pairs(Protocol.SAME, videos, portraits)


def test_extreme_takes_several_sources_a_video(videos):
    pairs = make_pairs(Protocol.EXTREME, videos, count=3)
    assert len(pairs) == 21 and len({(p.source, p.driving) for p in pairs}) == 21
    assert all(p.source != p.driving for p in pairs)


def test_robustness_has_runs_of_source_frames(videos):
    pairs = make_pairs(Protocol.ROBUSTNESS, videos, count=5)
    assert len(pairs) == 25 and len({p.driving for p in pairs}) == 5
    assert {(p.run, p.at) for p in pairs} == {(k, k / 5) for k in range(5)}


def test_reverse_has_a_second_run(videos):
    pairs = make_pairs(Protocol.REVERSE, videos)
    assert [(p.run, p.backwards) for p in pairs[:4]] == [(0, False), (1, True)] * 2


def test_a_list_of_pairs(videos):
    (videos / "pairs.csv").write_text("source,driving\na.mp4,b.mp4\nc.mp4, a.mp4\n\n")
    pairs = make_pairs(Protocol.CROSS, videos / "pairs.csv")
    assert [p.name for p in pairs] == ["a__b", "c__a"]
    for text, reason in (("a.mp4\n", "1 cells"), ("a.mp4,none.mp4\n", "no file"), ("", "no pairs")):
        (videos / "pairs.csv").write_text(text)
        with pytest.raises(OptionError, match=reason):
            make_pairs(Protocol.CROSS, videos / "pairs.csv")
    (videos / "pairs.csv").write_bytes(b"\xff\xfe\x00\x01,")
    with pytest.raises(OptionError, match="cannot be read"):
        make_pairs(Protocol.CROSS, videos / "pairs.csv")


def test_folders_that_do_not_serve(tmp_path, videos):
    with pytest.raises(OptionError, match="no folder with videos"):
        make_pairs(Protocol.SAME, tmp_path / "none")
    for name in "bcdefg":
        (videos / f"{name}.mp4").unlink()
    with pytest.raises(OptionError, match="one video only"):
        make_pairs(Protocol.CROSS, videos)
    (videos / "a.mov").touch()
    with pytest.raises(OptionError, match="Two pairs"):
        make_pairs(Protocol.SAME, videos)
