"""Clips and what is drawn from them: pairs, single images, frames of videos; unreadable files are skipped."""

import shutil
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.training.people import STILL, landmarks_of, options_of, write_person
from training.data import (
    GroupShards,
    ImageBatches,
    ImageFolder,
    PairBatches,
    ShardClips,
    VideoFolder,
    adjust_quad,
    open_clips,
)
from training.data.regions import feature_mask
from vivface.errors import MediaError, OptionError
from vivface.faces import get_backend
from vivface.faces.alignment import ffhq_quad, to_crop
from vivface.media import VideoWriter


def write_clip(path: Path, frames: int) -> None:
    """A video of grey frames, 20 levels lighter from one to the next."""
    with VideoWriter(path, (48, 32), Fraction(25)) as writer:
        for k in range(frames):
            writer.write(np.full((32, 48, 3), 20 * k, np.uint8), Fraction(k, 25))


@pytest.fixture
def pictures(tmp_path):
    """Three folders of four grey images: level 40, 120 and 200, a little lighter from frame to frame."""
    for level, name in ((40, "a"), (120, "b"), (200, "c")):
        (tmp_path / name).mkdir()
        for k in range(4):
            cv2.imwrite(str(tmp_path / name / f"{k}.png"), np.full((40, 60, 3), level + 3 * k, np.uint8))
    return tmp_path


class TestPairs:
    def test_same_is_of_the_sources_clip_and_other_of_another(self, pictures):
        batches = PairBatches(VideoFolder([pictures], 4, 32), options_of(pictures, augment=STILL, size=32))
        for index in range(3):
            batch = batches[index]
            assert batch["source"].shape == (5, 3, 32, 32)
            levels = {name: images.mean(dim=(1, 2, 3)) for name, images in batch.items()}
            assert ((levels["source"] - levels["same"]).abs() < 0.1).all()
            assert ((levels["source"] - levels["same"]).abs() > 0.01).all()  # another frame
            assert ((levels["source"] - levels["other"]).abs() > 0.4).all()

    def test_source_crops_use_the_sources_quad(self, people):
        clips = ShardClips(GroupShards([people]))
        anchored = clips.crop(0, 3, 64, anchor=0)
        assert not np.array_equal(anchored, clips.crop(0, 3, 64))
        assert np.array_equal(clips.crop(0, 0, 64, anchor=0), clips.crop(0, 0, 64))

    def test_refused(self, people, tmp_path):
        write_person(tmp_path / "one.npz", 0, 1)
        with pytest.raises(OptionError, match="single person"):
            PairBatches(open_clips(options_of(tmp_path)), options_of(tmp_path))
        with pytest.raises(OptionError, match="data.crop is 'stable'"):
            PairBatches(open_clips(options_of(people)), options_of(people, crop="stable"))

    def test_unreadable_clips_are_skipped(self, pictures):
        """The same items whenever they are made."""
        for path in (pictures / "b").iterdir():
            path.write_bytes(b"no image")

        def levels(indices) -> dict[int, torch.Tensor]:
            batches = PairBatches(VideoFolder([pictures], 4, 32), options_of(pictures, augment=STILL, size=32))
            return {k: torch.stack([x.mean(dim=(1, 2, 3)) for x in batches[k].values()]) for k in indices}

        with pytest.warns(UserWarning, match=r"skipped: .*b/"):
            forward, backward = levels(range(4)), levels(range(3, -1, -1))
        assert all(torch.equal(forward[k], backward[k]) for k in range(4))
        grey = (torch.cat(list(forward.values()), 1) + 1) * 127.5
        assert (((grey - 40) < 12) | ((grey - 200).abs() < 12)).all()  # nothing of the folder in between


class TestMasks:
    def test_masks_lie_on_mouth_eyes_and_brows(self, people):
        """Of drawn faces, in crops that are moved: lips and irises are inside, cheeks and background are not."""
        clips = ShardClips(GroupShards([people]))
        options = options_of(people, size=64, batch=4)
        batch, plain = PairBatches(clips, options, masks=True)[0], PairBatches(clips, options)[0]
        assert set(batch) == {"source", "same", "other", "source_mask", "same_mask"}
        assert all(torch.equal(batch[name], plain[name]) for name in plain)
        for name in ("source_mask", "same_mask"):
            mask = batch[name]
            assert mask.shape == (4, 1, 64, 64) and set(mask.unique().tolist()) == {0.0, 1.0}
            assert 0.1 < mask.mean() < 0.5

    @pytest.mark.parametrize("anchor", [None, 3])
    def test_landmarks_are_where_the_crop_shows_them(self, people, anchor):
        clips = ShardClips(GroupShards([people]))
        record, frames = clips.clips[2]

        def move(quad):
            return adjust_quad(quad, shift=(0.1, -0.2), scale=1.2, degrees=10)

        points = clips.landmarks(2, 1, anchor, move)
        quad = move(ffhq_quad(record.landmarks[frames[1 if anchor is None else anchor]]))
        np.testing.assert_allclose(points, to_crop(record.landmarks[frames[1]], quad), atol=1e-6)

    def test_mask_of_a_face(self):
        points = to_crop(face := landmarks_of(0.3, 0.0, 0.0, 96), ffhq_quad(face))
        mask = feature_mask(points, 128)
        for part in (points[17:27], points[36:48], points[48:68]):
            x, y = (part * 128).astype(int).T
            assert mask[y, x].all()
        assert mask[2, 2] == 0 and 0.05 < mask.mean() < 0.6

    def test_data_without_landmarks(self, pictures):
        batches = PairBatches(ImageFolder([pictures]), options_of(pictures, augment=STILL, size=16), masks=True)
        with pytest.raises(OptionError, match="no landmarks"):
            batches[0]

    def test_videos_keep_the_landmarks_of_their_frames(self, face_clip, tmp_path):
        """Detected once, when the frames are made; in fractions of the crop, where a detector finds them again."""
        shutil.copy(face_clip, tmp_path / "clip.mp4")
        clips = VideoFolder([tmp_path], 3, 128, align=True)
        image, points = clips.crop(0, 1, 128), clips.landmarks(0, 1)
        assert points.shape == (68, 2)
        found = get_backend("auto").detect(image)[0].landmarks
        assert np.abs(found - (points * 128 - 0.5)).max() < 6
        moved = clips.landmarks(0, 1, move=lambda quad: adjust_quad(quad, shift=(0.25, 0.0)))
        np.testing.assert_allclose(moved, points - (0.25, 0.0), atol=1e-5)
        plain = VideoFolder([tmp_path], 3, 64)
        with pytest.raises(OptionError, match="data.align=true"):
            plain.landmarks(0, 1)


class TestImages:
    def test_labels_are_folders(self, pictures):
        batch = ImageBatches(ImageFolder([pictures]), options_of(pictures, augment=STILL, size=16, batch=24))[0]
        assert set(batch["label"].tolist()) == {0, 1, 2}
        levels = (batch["image"].mean(dim=(1, 2, 3)) + 1) * 127.5
        expected = torch.tensor([40.0, 120.0, 200.0])[batch["label"]]
        assert ((levels - expected) > -1).all() and ((levels - expected) < 10).all()

    def test_people_are_labelled_by_identity(self, people):
        clips = ShardClips(GroupShards([people]))
        assert clips.classes == 6 and len(clips.labels) == 6

    def test_unreadable_image(self, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"no picture")
        with pytest.raises(MediaError, match=r"broken\.png is no readable image"):
            ImageFolder([tmp_path]).crop(0, 0, 16)

    def test_nothing_there(self, tmp_path):
        with pytest.raises(OptionError, match="no images"):
            ImageFolder([tmp_path])
        with pytest.raises(OptionError, match="no videos"):
            VideoFolder([tmp_path], 4, 32)

    def test_unreadable_images_are_skipped_until_nothing_is_left(self, pictures):
        options = options_of(pictures, augment=STILL, size=16, batch=24)
        for path in (pictures / "b").iterdir():
            path.write_bytes(b"no image")
        with pytest.warns(UserWarning, match="skipped"):
            assert set(ImageBatches(ImageFolder([pictures]), options)[0]["label"].tolist()) == {0, 2}
        for path in pictures.glob("*/*.png"):
            path.write_bytes(b"no image")
        with pytest.warns(UserWarning), pytest.raises(MediaError, match="nothing that can be read"):
            ImageBatches(ImageFolder([pictures]), options)[0]


class TestVideos:
    def test_frames_are_kept_evenly_spaced(self, tmp_path):
        write_clip(tmp_path / "clip.mp4", 12)
        clips = VideoFolder([tmp_path], 4, 32)
        assert clips.length(0) == 4
        levels = [clips.crop(0, k, 32).mean() for k in range(4)]
        assert np.allclose(levels, [0, 60, 120, 180], atol=8)
        assert len(list((tmp_path / ".frames-32" / "clip").iterdir())) == 4
        assert len(VideoFolder([tmp_path], 4, 32).clips) == 1  # kept frames are no clip of their own

    def test_too_short(self, tmp_path):
        write_clip(tmp_path / "clip.mp4", 1)
        with pytest.raises(MediaError, match="expected at least 2"):
            VideoFolder([tmp_path], 4, 32).length(0)

    def test_unreadable_videos_are_left_out_at_the_start(self, tmp_path):
        write_clip(tmp_path / "good.mp4", 4)
        (tmp_path / "bad.mp4").write_bytes(b"no video")
        with pytest.warns(UserWarning, match=r"left out: .*bad\.mp4"):
            clips = VideoFolder([tmp_path], 4, 32)
        assert clips.clips == [tmp_path / "good.mp4"]

    def test_nothing_but_unreadable_videos(self, tmp_path):
        (tmp_path / "bad.mp4").write_bytes(b"no video")
        with pytest.warns(UserWarning), pytest.raises(OptionError, match="of 1 video files"):
            VideoFolder([tmp_path], 4, 32)

    def test_videos_that_turn_out_too_short_are_skipped_while_training(self, tmp_path):
        for name, frames in (("a", 4), ("b", 4), ("short", 1)):
            write_clip(tmp_path / f"{name}.mp4", frames)
        batches = PairBatches(VideoFolder([tmp_path], 4, 32), options_of(tmp_path, augment=STILL, size=32))
        with pytest.warns(UserWarning, match=r"skipped: .*short\.mp4 gives 1 usable frames"):
            items = [batches[k] for k in range(6)]
        assert all(item["source"].shape == (5, 3, 32, 32) for item in items)
        assert not (tmp_path / ".frames-32" / "short").exists()
        assert not [p for p in (tmp_path / ".frames-32").iterdir() if p.name.startswith(".")]
