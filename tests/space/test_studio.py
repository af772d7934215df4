"""The work behind the page, without a page."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import make_tiny_pipeline
from vivface.editing import AttributeDirections
from vivface.errors import MediaError, NoFaceError, OptionError
from vivface.media import VideoReader, is_marked_synthetic
from vivface.reenactment.portrait_tuning import CODE_STEPS
from vivface.space.jobs import Cancelled
from vivface.space.live import LiveDriver
from vivface.space.sessions import Session, SessionStore
from vivface.space.studio import Options, Studio, Update
from vivface.space.zerogpu import gpu_seconds


@pytest.fixture(scope="module")
def studio(space_checkpoint: Path, examples: Path) -> Studio:
    directions = AttributeDirections.of_checkpoint(space_checkpoint)
    return Studio(make_tiny_pipeline(), directions, examples=list(examples.iterdir()))


@pytest.fixture
def session() -> Session:
    return Session()


def run(studio, session, portrait, driving, folder, **options) -> tuple[list[Update], Update]:
    updates = list(studio.reenact(session, str(portrait), str(driving), Options(**options), Path(folder)))
    return updates[:-1], updates[-1]


def read(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.image for frame in reader]


class TestSeeing:
    def test_faces_are_numbered_by_size(self, studio, session, two_faces):
        seen = studio.look_at_portrait(session, str(two_faces))
        assert len(seen.faces) == 2 and seen.faces[0].center[0] > seen.faces[1].center[0]
        center = seen.faces[1].center * seen.scale
        assert seen.face_at(*center) == 2 and seen.face_at(1, 1) is None

    def test_the_chosen_face_stands_out(self, studio, session, two_faces):
        seen = studio.look_at_portrait(session, str(two_faces))
        assert np.any(seen.annotated(1) != seen.annotated(2))
        assert seen.crop(2, "stable").shape == (256, 256, 3)

    def test_there_is_no_third_face(self, studio, session, two_faces):
        with pytest.raises(NoFaceError, match="Face 3 .* 2 faces"):
            studio.encode(session, str(two_faces), 3)

    def test_the_second_face_is_another(self, studio, session, two_faces):
        first, second = (studio.encode(session, str(two_faces), face) for face in (1, 2))
        assert first.quad[:, 0].mean() > second.quad[:, 0].mean()

    def test_a_portrait_is_encoded_once(self, studio, session, portrait):
        assert studio.encode(session, str(portrait)) is studio.encode(session, str(portrait))
        assert studio.encode(Session(), str(portrait)) is not studio.encode(session, str(portrait))

    def test_stills_do_not_wait_for_a_tuned_generator(self, session, portrait):
        pipeline = make_tiny_pipeline()
        pipeline.register_to_config(adapt_steps=CODE_STEPS + 1)
        studio = Studio(pipeline)
        plain, still = (studio.encode(session, str(portrait), adapt=adapt) for adapt in (False, None))
        assert still.generator is None and not torch.equal(still.w_plus, plain.w_plus)
        whole = studio.encode(session, str(portrait), adapt=True)
        assert whole.generator is not None and studio.encode(session, str(portrait)) is whole  # now that it is there

    def test_driving(self, studio, session, face_clip):
        assert len(studio.look_at_driving(session, str(face_clip)).faces) == 1

    def test_messages_name_the_file_alone(self, studio, session, tmp_path):
        (tmp_path / "words.jpg").write_text("no picture")
        with pytest.raises(MediaError) as caught:
            studio.look_at_portrait(session, str(tmp_path / "words.jpg"))
        assert "words.jpg" in str(caught.value) and str(tmp_path) not in str(caught.value)


class TestReenact:
    def test_files(self, studio, session, portrait, face_clip, tmp_path):
        updates, last = run(studio, session, portrait, face_clip, tmp_path, compare=True, height=128)
        frames = read(last.outputs.video)
        assert len(frames) == 21 and frames[0].shape == (128, 128, 3)
        with VideoReader(last.outputs.video) as reader:
            assert reader.has_audio and reader.fps == 25
        assert len(read(last.outputs.comparison)) == 21
        assert is_marked_synthetic(last.outputs.video) and is_marked_synthetic(last.outputs.comparison)
        assert last.report.frames == 21 and last.report.fps > 0
        assert all(update.frames <= 21 for update in updates)

        # The motion file drives as the video did
        (tmp_path / "b").mkdir()
        _, again = run(studio, session, portrait, last.outputs.motion, tmp_path / "b", height=128)
        difference = np.abs(np.stack(read(again.outputs.video)).astype(int) - np.stack(frames).astype(int))
        assert difference.mean() < 1 and again.outputs.motion is None

    def test_first_frames_are_shown(self, studio, session, portrait, face_clip, tmp_path):
        from tests.clips import write_face_clip

        clip = write_face_clip(tmp_path / "long.mp4", frames=40)
        _, last = run(studio, session, portrait, clip, tmp_path)
        with Image.open(last.preview) as preview:
            assert preview.n_frames > 20 and preview.is_animated
        assert is_marked_synthetic(last.preview)

    def test_edits_hold_for_every_frame(self, studio, session, portrait, face_clip, tmp_path):
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        plain = read(run(studio, session, portrait, face_clip, tmp_path / "a")[1].outputs.video)
        edited = read(run(studio, session, portrait, face_clip, tmp_path / "b", edits={"age": 1.5})[1].outputs.video)
        assert all(np.abs(a.astype(int) - b.astype(int)).mean() > 1 for a, b in zip(plain, edited, strict=True))

    def test_part_of_the_clip(self, studio, session, portrait, face_clip, tmp_path):
        _, last = run(studio, session, portrait, face_clip, tmp_path, start=0.2, length=0.4)
        assert last.report.frames == 10

    def test_cancelling_leaves_nothing(self, studio, session, portrait, tmp_path):
        from tests.clips import write_face_clip

        clip, folder = write_face_clip(tmp_path / "long.mp4", frames=150), tmp_path / "out"
        folder.mkdir()
        threads = threading.active_count()
        with pytest.raises(Cancelled):
            for update in studio.reenact(session, str(portrait), str(clip), Options(), folder):
                if update.frames:
                    session.job.cancel()
        assert [path.name for path in folder.iterdir() if path.suffix != ".webp"] == []
        assert session.job is None and threading.active_count() <= threads

    def test_leaving_stops_the_work(self, studio, session, portrait, tmp_path):
        from tests.clips import write_face_clip

        clip = write_face_clip(tmp_path / "long.mp4", frames=150)
        updates = studio.reenact(session, str(portrait), str(clip), Options(), tmp_path)
        next(updates)
        job = session.job
        updates.close()
        assert not job.is_running and job.report.frames < 150

    def test_no_face(self, studio, session, portrait, tmp_path):
        from tests.clips import write_face_clip

        clip = write_face_clip(tmp_path / "empty.mp4", frames=10, hidden=range(10))
        with pytest.raises(NoFaceError, match="empty.mp4"):
            run(studio, session, portrait, clip, tmp_path)

    def test_examples_are_made_once(self, studio, session, examples, tmp_path):
        portrait, clip = examples / "portrait.png", examples / "driving.mp4"
        _, first = run(studio, session, portrait, clip, tmp_path)
        updates, second = run(studio, Session(), portrait, clip, tmp_path)
        assert updates == [] and second.outputs == first.outputs and second.outputs.video.is_file()
        assert studio.is_example(str(portrait)) and not studio.is_example(__file__)

    @pytest.mark.parametrize(
        "options", [{"strength": -1}, {"smoothing": 9}, {"height": 65}, {"start": float("nan")}, {"edits": {"hat": 1}}]
    )
    def test_options(self, studio, session, portrait, face_clip, tmp_path, options):
        with pytest.raises(OptionError):
            run(studio, session, portrait, face_clip, tmp_path, **options)


class TestLive:
    @pytest.fixture
    def driver(self, studio, session, portrait) -> LiveDriver:
        return studio.live(session, str(portrait), 1, {"smile": 0.5}, refine=False, relative=False)

    def test_agrees_with_the_video(self, studio, session, portrait, driver, face_clip):
        """The first frame is what the pipeline makes of the same frame."""
        with VideoReader(face_clip) as reader:
            picture, found = driver.update(next(iter(reader)).image)
        identity = studio.encode(session, str(portrait))
        motion = studio.directions.edit_motion(studio.pipeline.encode_motion(face_clip), {"smile": 0.5})
        expected = next(iter(studio.pipeline.render(identity, motion, refine=False)))
        assert found and np.abs(picture.astype(int) - expected.astype(int)).max() <= 2

    def test_without_a_face_the_picture_stays(self, driver, face_clip):
        blank = np.full((192, 192, 3), 128, np.uint8)
        still, found = driver.update(blank)
        assert not found and still.shape == (64, 64, 3)
        with VideoReader(face_clip) as reader:
            moved, _ = driver.update(next(iter(reader)).image)
        kept, found = driver.update(blank)
        assert not found and np.array_equal(kept, moved) and driver.fps > 0


class TestSessions:
    def test_the_longest_away_is_forgotten(self):
        store = SessionStore(capacity=2)
        first = store.get("a")
        store.get("b")
        store.get("c")
        assert len(store) == 2 and store.get("a") is not first

    def test_idle_ones_are_forgotten(self):
        store = SessionStore(idle_seconds=0.01)
        store.get("a").keep("portrait", 1, lambda: "kept")
        time.sleep(0.05)
        store.get("b")
        assert len(store) == 1

    def test_closing(self):
        store = SessionStore()
        session = store.get("a")
        session.keep("portrait", 1, lambda: "first")
        store.close("a")
        store.close("unknown")
        assert len(store) == 0 and session.keep("portrait", 1, lambda: "second") == "second"


def test_time_on_a_lent_gpu_grows_with_the_clip():
    assert gpu_seconds(1) < gpu_seconds(10) < gpu_seconds(10, fps=60) <= gpu_seconds(10_000) == 300
