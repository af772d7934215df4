"""The work behind the page, without a page."""

import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.clips import write_face_clip
from tests.tiny import make_tiny_pipeline
from vivface.editing import AttributeDirections
from vivface.errors import MediaError, NoFaceError, OptionError, VivFaceError
from vivface.media import VideoReader, is_marked_synthetic
from vivface.reenactment.codes import MotionCodes
from vivface.reenactment.portrait_tuning import CODE_STEPS
from vivface.space.examples import example_pairs, find_examples, prepare_examples
from vivface.space.jobs import Cancelled, Outputs, Update
from vivface.space.limits import Limits
from vivface.space.live import LiveDriver
from vivface.space.options import Options
from vivface.space.service import Portrait, ReenactmentService, new_visitor


@pytest.fixture(scope="module")
def service(space_checkpoint: Path, examples: Path) -> ReenactmentService:
    directions = AttributeDirections.of_checkpoint(space_checkpoint)
    return ReenactmentService(make_tiny_pipeline(), directions, examples=list(examples.iterdir()))


@pytest.fixture
def visitor() -> str:
    return new_visitor()


@pytest.fixture
def admitted(service: ReenactmentService, portrait: Path) -> Portrait:
    return service.admit(str(portrait), True)


def run(service, visitor, portrait, driving, folder: Path, **options) -> tuple[list[Update], Update]:
    """All updates but the last, and the last one with its files moved to `folder`."""
    admitted = service.admit(str(portrait), True)
    folder.mkdir(exist_ok=True)
    updates = []
    for update in service.reenact(visitor, admitted, str(driving), Options(**options)):
        updates.append(update)
        if update.result is not None:
            paths = vars(update.result).items()
            found = {name: path for name, path in paths if path is not None and path.exists()}
            moved = Outputs(**{name: Path(shutil.copy2(path, folder)) for name, path in found.items()})
    return updates[:-1], replace(updates[-1], result=moved)


def read(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.image for frame in reader]


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestFaces:
    def test_faces_are_numbered_by_size(self, service, visitor, two_faces):
        found = service.detect_portrait(visitor, str(two_faces))
        assert len(found.faces) == 2 and found.faces[0].center[0] > found.faces[1].center[0]
        assert found.face_at(*(found.faces[1].center * found.scale)) == 1 and found.face_at(1, 1) is None

    def test_the_chosen_face_stands_out(self, service, visitor, two_faces):
        found = service.detect_portrait(visitor, str(two_faces))
        assert np.any(found.annotated(0) != found.annotated(1))
        assert found.crop(1).shape == (256, 256, 3) and np.any(found.crop(0) != found.crop(1))

    @pytest.mark.parametrize("face", [2, 1_000_000_000])
    def test_there_is_no_third_face(self, service, visitor, two_faces, face):
        with pytest.raises(NoFaceError, match=f"Face {face} .* 2 faces"):
            service.encode(visitor, service.admit(str(two_faces), True), face)

    def test_the_second_face_is_another(self, service, visitor, two_faces):
        admitted = service.admit(str(two_faces), True)
        first, second = (service.encode(visitor, admitted, face) for face in (0, 1))
        assert first.quad[:, 0].mean() > second.quad[:, 0].mean()

    def test_driving(self, service, visitor, face_clip):
        assert len(service.detect_driving(visitor, str(face_clip)).faces) == 1

    def test_messages_name_the_file_alone(self, service, visitor, tmp_path):
        (tmp_path / "words.jpg").write_text("no image")
        with pytest.raises(MediaError) as caught:
            service.detect_portrait(visitor, str(tmp_path / "words.jpg"))
        assert "words.jpg" in str(caught.value) and str(tmp_path) not in str(caught.value)


class TestConsent:
    @pytest.mark.parametrize("consent", [False, None, "true", 1])
    def test_an_upload_needs_it(self, service, uploaded, consent):
        with pytest.raises(VivFaceError, match="agreed"):
            service.admit(str(uploaded), consent)

    def test_an_example_does_not(self, service, examples):
        assert service.admit(str(examples / "portrait.png"), False).is_example

    def test_a_changed_file_is_another(self, service, examples, uploaded, tmp_path):
        path = tmp_path / "portrait.png"
        shutil.copy2(examples / "portrait.png", path)
        assert service.admit(str(path), False).is_example
        time.sleep(0.01)
        path.write_bytes(uploaded.read_bytes())
        with pytest.raises(VivFaceError, match="agreed"):
            service.admit(str(path), False)

    def test_asking_again_does_not_read_the_file_again(self, service, tmp_path):
        path = tmp_path / "large.png"
        path.write_bytes(bytes(200_000_000))
        began = time.perf_counter()
        service.admit(str(path), True)
        first, began = time.perf_counter() - began, time.perf_counter()
        for _ in range(10):
            service.admit(str(path), True)
        assert time.perf_counter() - began < first


class TestEncoding:
    def test_a_portrait_is_encoded_once_a_visitor(self, service, visitor, admitted, uploaded):
        upload = service.admit(str(uploaded), True)
        assert service.encode(visitor, upload) is service.encode(visitor, upload)
        assert service.encode(new_visitor(), upload) is not service.encode(visitor, upload)

    def test_an_example_is_encoded_once_for_all(self, service, examples):
        example = service.admit(str(examples / "portrait.png"), False)
        assert service.encode(new_visitor(), example) is service.encode(new_visitor(), example)

    def test_stills_do_not_wait_for_a_tuned_generator(self, visitor, portrait):
        pipeline = make_tiny_pipeline()
        pipeline.register_to_config(adapt_steps=CODE_STEPS + 1)
        service = ReenactmentService(pipeline)
        admitted = service.admit(str(portrait), True)
        plain, still = (service.encode(visitor, admitted, adapt=adapt) for adapt in (False, None))
        assert still.generator is None and not torch.equal(still.w_plus, plain.w_plus)
        whole = service.encode(visitor, admitted, adapt=True)
        assert whole.generator is not None and service.encode(visitor, admitted) is whole  # now that it is there


class TestReenact:
    def test_files(self, service, visitor, portrait, face_clip, tmp_path):
        updates, last = run(service, visitor, portrait, face_clip, tmp_path / "a", compare=True, height=128)
        frames = read(last.result.video)
        assert len(frames) == 21 and frames[0].shape == (128, 128, 3)
        with VideoReader(last.result.video) as reader:
            assert reader.has_audio and reader.fps == 25
        assert len(read(last.result.comparison)) == 21
        assert is_marked_synthetic(last.result.video) and is_marked_synthetic(last.result.comparison)
        assert last.report.frames == 21 and last.report.fps > 0
        assert all(update.done <= 21 for update in updates)

        # The motion file drives as the video did
        _, again = run(service, visitor, portrait, last.result.motion, tmp_path / "b", height=128)
        difference = np.abs(np.stack(read(again.result.video)).astype(int) - np.stack(frames).astype(int))
        assert difference.mean() < 3 and again.result.motion is None

    def test_first_frames_are_shown(self, service, visitor, portrait, tmp_path):
        clip = write_face_clip(tmp_path / "long.mp4", frames=40)
        _, last = run(service, visitor, portrait, clip, tmp_path / "out")
        with Image.open(last.result.preview) as preview:
            assert preview.n_frames > 20 and preview.is_animated
        assert is_marked_synthetic(last.result.preview)

    def test_edits_hold_for_every_frame(self, service, visitor, portrait, face_clip, tmp_path):
        plain = run(service, visitor, portrait, face_clip, tmp_path / "a")[1].result
        edited = run(service, visitor, portrait, face_clip, tmp_path / "b", edits={"age": 1.5, "smile": 0.5})[1].result
        pairs = zip(read(plain.video), read(edited.video), strict=True)
        assert all(np.abs(a.astype(int) - b.astype(int)).mean() > 1 for a, b in pairs)
        # The motion file is the driver's: edits are not in it twice when it is used again
        codes = [torch.cat([batch.codes for batch in MotionCodes.load(made.motion)]) for made in (plain, edited)]
        assert torch.equal(*codes)

    def test_edits_over_time(self, service, visitor, portrait, face_clip, tmp_path):
        """From nothing to much: the first frame stays, the last one changes. The slider of that name does not count."""
        plain = run(service, visitor, portrait, face_clip, tmp_path / "a")[1].result
        options = dict(timeline="age=0:0,0.8:2", edits={"age": -2.0})
        edited = run(service, visitor, portrait, face_clip, tmp_path / "b", **options)[1].result
        change = [np.abs(a.astype(int) - b).mean() for a, b in zip(read(plain.video), read(edited.video), strict=True)]
        assert change[0] < 3 and change[-1] > 1.5 * change[0]  # every run has a mark of its own
        for wrong, words in (("hat=0:1", "'hat'"), ("age=0:99", "99"), ("age=0:x", "not understood")):
            with pytest.raises(OptionError, match=words):
                run(service, visitor, portrait, face_clip, tmp_path / "c", timeline=wrong)

    def test_several_faces(self, service, visitor, two_faces, face_clip, tmp_path):
        """Both move, in the whole photograph; who is not there is named."""
        updates, last = run(service, visitor, two_faces, face_clip, tmp_path, faces="0:0, 1:0", compare=True)
        frames = read(last.result.video)
        with Image.open(two_faces) as photo:
            assert frames[0].shape[1::-1] == photo.size
        middle = frames[0].shape[1] // 2
        changed = np.abs(frames[0].astype(int) - frames[-1]).max(-1) > 12
        assert changed[:, :middle].any() and changed[:, middle:].any()
        with pytest.raises(NoFaceError, match="Face 5 was asked for"):
            run(service, visitor, two_faces, face_clip, tmp_path, faces="5:0")

    @pytest.mark.parametrize("faces", ["0", "0:0;1:1", "0:/etc/passwd", "0:nod", "-1:0", "everybody"])
    def test_pairs_of_faces_are_numbers(self, faces):
        with pytest.raises(OptionError, match="faces"):
            Options(faces=faces)

    def test_part_of_the_clip(self, service, visitor, portrait, face_clip, tmp_path):
        _, last = run(service, visitor, portrait, face_clip, tmp_path, start=0.2, duration=0.4)
        assert last.report.frames == 10

    def test_no_face(self, service, visitor, portrait, tmp_path):
        clip = write_face_clip(tmp_path / "empty.mp4", frames=10, hidden=range(10))
        with pytest.raises(NoFaceError, match="empty.mp4.*searched 10 frames"):
            run(service, visitor, portrait, clip, tmp_path)

    def test_examples_are_made_once(self, service, visitor, examples, tmp_path):
        portrait, clip = examples / "portrait.png", examples / "driving.mp4"
        _, first = run(service, visitor, portrait, clip, tmp_path / "a")
        updates, second = run(service, new_visitor(), portrait, clip, tmp_path / "b")
        assert updates == [] and second.result.video.read_bytes() == first.result.video.read_bytes()

    def test_examples_are_made_before_somebody_asks(self, examples, visitor, tmp_path):
        portraits, clips = find_examples(examples)
        service = ReenactmentService(make_tiny_pipeline(), examples=[*portraits, *clips])
        prepare_examples(service, example_pairs(portraits, clips))
        assert len(service.results) == len(portraits) == 1
        updates, _ = run(service, visitor, portraits[0], clips[0], tmp_path)
        assert updates == []
        without = tmp_path / "none"
        without.mkdir()
        assert example_pairs(*find_examples(without)) == []

    @pytest.mark.parametrize("edits", [{"hat": 1}, {"age": float("nan")}, {"age": float("inf")}, {"age": "old"}])
    def test_edits(self, service, visitor, portrait, face_clip, tmp_path, edits):
        with pytest.raises(OptionError):
            run(service, visitor, portrait, face_clip, tmp_path, edits=edits)

    def test_motion_alone(self, service, visitor, face_clip):
        for update in service.extract_motion(visitor, str(face_clip), Options(duration=0.4)):
            if update.result is not None:
                assert MotionCodes.load(update.result).frames == 10
        assert not update.result.exists()  # gone with the iterator


class TestStopping:
    @pytest.fixture
    def running(self, service, visitor, admitted, tmp_path) -> Iterator:
        clip = write_face_clip(tmp_path / "long.mp4", frames=300)
        updates = service.reenact(visitor, admitted, str(clip), Options())
        wait_until(lambda: next(updates).done)
        yield updates
        updates.close()
        wait_until(lambda: len(service.queue) == 0)

    @pytest.fixture
    def short_clip(self, tmp_path) -> Path:
        return write_face_clip(tmp_path / "short.mp4", frames=15)

    def test_stopping_raises_and_leaves_nothing(self, service, visitor, running):
        began = time.monotonic()
        service.stop(visitor)
        with pytest.raises(Cancelled):
            list(running)
        assert time.monotonic() - began < 1
        wait_until(lambda: len(service.queue) == 0, 10)

    def test_leaving_takes_no_time(self, service, running):
        began = time.monotonic()
        running.close()
        assert time.monotonic() - began < 0.3
        wait_until(lambda: len(service.queue) == 0, 10)

    def test_forgetting_stops_too(self, service, visitor, running):
        service.forget(visitor)
        with pytest.raises(Cancelled):
            list(running)

    def test_others_are_not_stopped(self, service, running):
        service.stop(new_visitor())
        assert next(running).result is None

    def test_the_next_run_waits_for_the_end_of_the_last(self, service, admitted, short_clip, running):
        other = service.reenact(new_visitor(), admitted, str(short_clip), Options())
        assert "Waiting" in next(other).step and "1 other run" in next(other).step
        running.close()
        threads = [thread for thread in threading.enumerate() if thread.name == "vivface-job"]
        assert len(threads) <= 2
        last = list(other)[-1]
        assert last.report.frames == 15

    def test_one_that_waits_can_be_stopped(self, service, admitted, short_clip, running):
        visitor = new_visitor()
        other = service.reenact(visitor, admitted, str(short_clip), Options())
        next(other)
        service.stop(visitor)
        with pytest.raises(Cancelled):
            list(other)
        wait_until(lambda: len(service.queue) == 1, 5)
        assert next(running).result is None


class TestMemory:
    def test_many_visitors_stay_within_the_bytes(self, portrait, two_faces, face_clip, examples):
        pipeline = make_tiny_pipeline()
        pipeline.register_to_config(adapt_steps=CODE_STEPS + 1)  # with a generator of its own for each
        service = ReenactmentService(pipeline, limits=Limits(memory_bytes=12_000_000))
        admitted = service.admit(str(portrait), True)
        clip = service.reenact("busy", admitted, str(face_clip), Options())
        next(clip)
        for number in range(12):
            service.detect_portrait(str(number), str(two_faces))
            service.detect_driving(str(number), str(face_clip))
            service.encode(str(number), admitted, adapt=number % 4 == 0)
            assert 0 < service.memory.nbytes <= 12_000_000
        assert service.memory.get("11", ("identity", admitted.key, 0, 0)) is not None  # the last one is there
        assert list(clip)[-1].report.frames == 21  # a run goes on, whatever is forgotten

    def test_a_visitor_is_forgotten(self, service, visitor, two_faces):
        before = service.memory.nbytes
        service.detect_portrait(visitor, str(two_faces))
        assert service.memory.nbytes > before
        service.forget(visitor)
        assert service.memory.nbytes == before

    def test_large_images_are_kept_small(self, service, visitor, tmp_path, portrait):
        path = tmp_path / "large.png"
        with Image.open(portrait) as image:
            image.resize((2400, 2400)).save(path, compress_level=1)
        assert service.detect_portrait(visitor, str(path)).nbytes < 2_500_000


class TestLive:
    @pytest.fixture
    def driver(self, service, visitor, admitted) -> LiveDriver:
        return service.live(visitor, admitted, 0, {"smile": 0.5}, refine=False, motion_mode="absolute")

    def test_agrees_with_the_video(self, service, visitor, admitted, driver, face_clip):
        """The first frame is what the pipeline makes of the same frame."""
        with VideoReader(face_clip) as reader:
            image, found = driver.update(next(iter(reader)).image)
        identity = service.encode(visitor, admitted)
        motion = service.directions.edit_motion(service.pipeline.encode_motion(face_clip), {"smile": 0.5})
        expected = next(iter(service.pipeline.render(identity, motion, refine=False)))
        assert found and np.abs(image.astype(int) - expected.astype(int)).max() <= 2

    def test_without_a_face_the_image_stays(self, driver, face_clip):
        blank = np.full((192, 192, 3), 128, np.uint8)
        still, found = driver.update(blank)
        assert not found and still.shape == (64, 64, 3)
        with VideoReader(face_clip) as reader:
            moved, _ = driver.update(next(iter(reader)).image)
        kept, found = driver.update(blank)
        assert not found and np.array_equal(kept, moved) and driver.fps > 0

    def test_one_driver_for_the_same_choices(self, service, visitor, admitted, driver):
        again = service.live(visitor, admitted, 0, {"smile": 0.5}, refine=False, motion_mode="absolute")
        other = service.live(visitor, admitted, 0, {"smile": 0.4}, refine=False, motion_mode="absolute")
        assert again is driver and other is not driver
