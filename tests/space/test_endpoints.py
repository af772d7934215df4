"""Programs that call the page: every endpoint, bad uploads, ten at once."""

import gc
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from tests.clips import portrait as portrait_picture
from tests.clips import write_face_clip
from tests.space.conftest import LIMITS, Server
from tests.space.test_limits import write_huge_png
from vivface.errors import VivFaceError
from vivface.media import VideoReader, is_marked_synthetic, save_image
from vivface.provenance import verify
from vivface.reenactment.codes import MotionCodes
from vivface.space.options import portrait_options
from vivface.space.uploads import sweep

PUBLIC = {
    "/reenact",
    "/reenact_film",
    "/find_faces",
    "/find_driving_faces",
    "/extract_motion",
    "/edit_portrait",
    "/express_portrait",
    "/list_expressions",
    "/list_edits",
    "/encode_clip",
    "/decode_video",
    "/verify",
}


def connect(server: Server, downloads: Path) -> Client:
    """A client that is patient with a busy machine."""
    return Client(server.url, verbose=False, download_files=str(downloads), httpx_kwargs={"timeout": 120})


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    return connect(server, tmp_path)


class TestEndpoints:
    def test_they_are_named_and_described(self, client):
        endpoints = client.view_api(return_format="dict")["named_endpoints"]
        assert set(endpoints) == PUBLIC
        for name, endpoint in endpoints.items():
            assert endpoint["description"], name
        described = {parameter["parameter_name"] for parameter in endpoints["/reenact"]["parameters"]}
        assert described == {"portrait", "driving", "motion_file", "consent", "co_driving", *portrait_options()}

    def test_reenact(self, client, portrait, face_clip):
        video, comparison, motion, line = client.predict(
            handle_file(str(portrait)), handle_file(str(face_clip)), consent=True, compare=True, api_name="/reenact"
        )
        with VideoReader(video) as reader:
            assert len(list(reader)) == 21 and reader.has_audio and reader.size == (64, 64)
        assert is_marked_synthetic(video) and is_marked_synthetic(comparison)
        assert MotionCodes.load(motion).frames == 21
        assert line.startswith("21 frames in ")

    def test_a_motion_file_drives(self, client, portrait, face_clip):
        motion, line = client.predict(handle_file(str(face_clip)), duration=0.4, api_name="/extract_motion")
        assert line == "10 frames, 0.4 seconds of motion."
        video, comparison, again, _ = client.predict(
            handle_file(str(portrait)), motion_file=handle_file(motion), consent=True, api_name="/reenact"
        )
        with VideoReader(video) as reader:
            assert len(list(reader)) == 10
        assert comparison is None and again is None

    def test_faces(self, client, two_faces, face_clip):
        picture, boxes = client.predict(handle_file(str(two_faces)), face=1, api_name="/find_faces")
        assert len(boxes) == 2 and Path(picture).stat().st_size > 0
        _, boxes = client.predict(handle_file(str(face_clip)), api_name="/find_driving_faces")
        assert len(boxes) == 1

    def test_edits(self, client, portrait):
        names = [edit["name"] for edit in client.predict(api_name="/list_edits")]
        assert names == ["smile", "age"]
        path = handle_file(str(portrait))
        plain, older = (
            client.predict(path, edits=edits, consent=True, api_name="/edit_portrait") for edits in ({}, {"age": 1})
        )
        assert is_marked_synthetic(older) and verify(older).manifest.state == "trusted"
        with Image.open(plain) as a, Image.open(older) as b:
            assert a.size == b.size == (64, 64) and a.tobytes() != b.tobytes()

    def test_verify(self, client, two_faces, tmp_path):
        found = client.predict(handle_file(str(two_faces)), api_name="/verify")
        assert found["file"] == two_faces.name
        assert found["verdict"] == "synthetic" and found["metadata"] and found["manifest"] is None
        assert not found["mark"]["found"] and str(two_faces.parent) not in json.dumps(found)
        (tmp_path / "notes.jpg").write_text("words")
        with pytest.raises(AppError, match="Cannot read 'notes.jpg'"):
            client.predict(handle_file(str(tmp_path / "notes.jpg")), api_name="/verify")

    def test_consent_is_asked_for_uploads_only(self, client, two_faces, face_clip, examples):
        with pytest.raises(AppError, match="agreed"):
            client.predict(handle_file(str(two_faces)), handle_file(str(face_clip)), api_name="/reenact")
        example = handle_file(str(examples / "portrait.png"))
        video, *_ = client.predict(example, handle_file(str(face_clip)), duration=0.2, api_name="/reenact")
        assert Path(video).is_file()

    def test_progress_is_told_and_a_job_can_be_cancelled(self, server, client, portrait, tmp_path):
        clip = write_face_clip(tmp_path / "long.mp4", frames=300)
        job = client.submit(handle_file(str(portrait)), handle_file(str(clip)), consent=True, api_name="/reenact")
        deadline = time.monotonic() + 120
        while not any(re.search(r"frames: [1-9]", update[3]) for update in job.outputs()):
            assert time.monotonic() < deadline and not job.done()
            time.sleep(0.1)
        job.cancel()
        while len(server.demo.service.queue):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(0.2)  # the folder goes right after
        assert server.work_names() == []


class TestBadUploads:
    """Each is refused with one sentence; the page goes on."""

    def refused(self, client: Client, *arguments, match: str, api_name: str, **options) -> None:
        with pytest.raises(AppError) as caught:
            client.predict(*arguments, api_name=api_name, **options)
        message = str(caught.value)
        assert match in message and "Traceback" not in message and "/tmp" not in message, message
        assert message.rstrip().endswith(".")

    @pytest.mark.parametrize(
        ("name", "match"),
        [("no_face.jpg", "No face"), ("text.jpg", "not an image"), ("truncated.jpg", "cut off"), ("no_face.mp4", "")],
    )
    def test_portraits(self, client, media_dir, name, match):
        self.refused(client, handle_file(str(media_dir / "hard" / name)), match=match, api_name="/find_faces")

    @pytest.mark.parametrize(
        ("name", "match"),
        [
            ("no_face.mp4", "No face"),
            ("audio_only.mp4", "video stream"),
            ("zero_byte.mp4", "empty"),
            ("text.mp4", "not a video"),
            ("truncated_no_index.mp4", "cut off"),
            ("gray.png", "still image"),
        ],
    )
    def test_driving(self, client, media_dir, name, match):
        self.refused(client, handle_file(str(media_dir / "hard" / name)), match=match, api_name="/find_driving_faces")

    def test_pickle(self, client, portrait, tmp_path):
        for name in ("motion.safetensors", "portrait.png", "clip.mp4"):
            (tmp_path / name).write_bytes(b"\x80\x04\x95\x1e\x00\x00\x00cposix\nsystem\n\x8c\x04echo\x85R.")
        self.refused(client, handle_file(str(tmp_path / "portrait.png")), match="not an image", api_name="/find_faces")
        self.refused(
            client,
            handle_file(str(portrait)),
            motion_file=handle_file(str(tmp_path / "motion.safetensors")),
            consent=True,
            match="no readable motion file",
            api_name="/reenact",
        )

    def test_a_playlist_does_not_reach_other_files(self, client, face_clip, tmp_path):
        playlist = tmp_path / "playlist.mp4"
        playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{face_clip}\n#EXT-X-ENDLIST\n")
        self.refused(client, handle_file(str(playlist)), match="playlist", api_name="/find_driving_faces")

    def test_a_huge_picture(self, client, tmp_path):
        huge = write_huge_png(tmp_path / "huge.png")
        before = psutil.Process().memory_info().rss
        self.refused(client, handle_file(str(huge)), match="million", api_name="/find_faces")
        assert psutil.Process().memory_info().rss - before < 200e6

    def test_too_long(self, client, tmp_path):
        clip = write_face_clip(tmp_path / "long.mp4", frames=50, fps=2)
        self.refused(client, handle_file(str(clip)), match="choose a part", api_name="/extract_motion")

    def test_nothing_given(self, client):
        self.refused(client, None, match="portrait first", api_name="/find_faces")
        self.refused(client, None, match="driving video first", api_name="/find_driving_faces")

    def test_a_file_of_the_server_is_not_read(self, server):
        before = server.file_names()
        stolen = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
        call = f"{server.url}/gradio_api/call/find_faces"
        event = httpx.post(call, json={"data": [stolen, 0]}, timeout=120).json()["event_id"]
        answer = httpx.get(f"{call}/{event}", timeout=120).text
        assert "event: error" in answer and "event: complete" not in answer
        assert server.file_names() == before

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"face": 1e9}, "Face 1000000000"),
            ({"face": -1}, "`face` is -1"),
            ({"driving_face": "second"}, "`driving_face` is 'second'"),
            ({"driving_face": 3}, "Face 3"),
            ({"start": -1}, "`start` is -1"),
            ({"start": "soon"}, "`start` is 'soon'"),
            ({"duration": 1e9}, "`duration` is 1000000000"),
            ({"strength": "much"}, "`strength` is 'much'"),
            ({"motion_mode": "sideways"}, "'absolute' or 'relative'"),
            ({"refine": "yes"}, "`refine` is 'yes'"),
            ({"edits": ["smile"]}, "amounts by name"),
            ({"edits": {"age": "old"}}, "'old'"),
            ({"edits": {"<b>hat</b>": 1}}, "&lt;b&gt;"),
        ],
    )
    def test_options(self, client, portrait, face_clip, options, match):
        files = handle_file(str(portrait)), handle_file(str(face_clip))
        self.refused(client, *files, consent=True, match=match, api_name="/reenact", **options)

    def test_options_of_other_endpoints(self, client, uploaded, face_clip):
        path, clip = handle_file(str(uploaded)), handle_file(str(face_clip))
        self.refused(client, path, face=5, match="Face 5", api_name="/find_faces")
        self.refused(client, clip, start="x", match="`start` is 'x'", api_name="/find_driving_faces")
        self.refused(client, clip, start=-2, match="`start` is -2", api_name="/extract_motion")
        self.refused(client, path, True, edits=[1], match="amounts by name", api_name="/edit_portrait")
        self.refused(client, path, "true", edits={}, match="consent", api_name="/edit_portrait")

    @pytest.mark.parametrize("amount", ["nan", "inf", "-inf"])
    def test_amounts_that_are_no_numbers(self, server, portrait, amount):
        upload = TestUploads.upload(server, files={"files": ("a.png", portrait.read_bytes())}).json()[0]
        file = {"path": upload, "meta": {"_type": "gradio.FileData"}}
        data = json.dumps({"data": [file, True, {"age": float(amount)}, 0, True]})  # writes NaN and Infinity as such
        call = f"{server.url}/gradio_api/call/edit_portrait"
        event = httpx.post(call, content=data, headers={"content-type": "application/json"}, timeout=120).json()
        answer = httpx.get(f"{call}/{event['event_id']}", timeout=120).text
        assert "event: error" in answer and "expected a number from" in answer and "Traceback" not in answer


class TestUploads:
    @staticmethod
    def upload(server: Server, **body) -> httpx.Response:
        return httpx.post(f"{server.url}/gradio_api/upload", timeout=120, **body)

    @pytest.mark.parametrize("declared", [True, False])
    def test_a_body_of_three_gigabytes(self, server, declared):
        """Refused at once when its length is declared, and while it arrives when not."""
        before, sent = server.file_names(), 0

        def endless():
            nonlocal sent
            head = 'Content-Disposition: form-data; name="files"; filename="a.mp4"\r\nContent-Type: video/mp4\r\n\r\n'
            yield b"--x\r\n" + head.encode()
            for _ in range(3000):
                sent += 1_000_000
                yield bytes(1_000_000)

        headers = {"content-type": "multipart/form-data; boundary=x"}
        if declared:
            headers["content-length"] = "3000000000"
        try:
            response = self.upload(server, content=endless(), headers=headers)
            assert response.status_code == 413 and ("too large" in response.text or "exceeded" in response.text)
        except httpx.TransportError:
            pass  # the connection was closed in the middle of the body
        assert sent < 300e6
        assert server.file_names() == before

    def test_a_file_beyond_the_limit(self, server):
        assert self.upload(server, files={"files": ("a.mp4", bytes(LIMITS.upload_bytes + 1))}).status_code == 413

    @pytest.mark.parametrize("name", ["../../../escaped.png", "a/b\\c.png", "quo\"te's;$(touch x).png", "ü ñ 漢.png"])
    def test_names(self, server, client, portrait, name):
        response = self.upload(server, files={"files": (name, portrait.read_bytes())})
        assert response.status_code == 200
        path = Path(response.json()[0])
        assert server.files in path.resolve().parents
        uploaded = {"path": str(path), "orig_name": name, "meta": {"_type": "gradio.FileData"}}
        _, boxes = client.predict(uploaded, api_name="/find_faces")
        assert len(boxes) == 1


class TestMany:
    def test_ten_at_once(self, server, face_clip, tmp_path):
        """Everybody gets the own result: each picture has another size, and the result is pasted into it."""
        sizes = [300 + 20 * number for number in range(10)]
        for size in sizes:
            person = Image.fromarray(portrait_picture()).resize((size, size))
            save_image(tmp_path / f"{size}.png", np.asarray(person))

        def work(size: int) -> tuple[int, int]:
            own = connect(server, tmp_path / str(size))
            video, *_ = own.predict(
                handle_file(str(tmp_path / f"{size}.png")),
                handle_file(str(face_clip)),
                consent=True,
                paste_back=True,
                duration=0.4,
                api_name="/reenact",
            )
            with VideoReader(video) as reader:
                frames = len(list(reader))
            own.close()
            return reader.size[0], frames

        process, used = psutil.Process(), []
        for _ in range(3):  # the first two rounds warm up what stays: threads, allocators, caches
            with ThreadPoolExecutor(10) as pool:
                results = list(pool.map(work, sizes))
            assert results == [(size, 10) for size in sizes]
            gc.collect()
            used.append(process.memory_info().rss)
        assert used[2] - used[1] < 100e6
        assert server.work_names() == []


def test_an_upload_that_was_deleted_meanwhile(server, two_faces):
    """As after an hour: the message says what to do."""
    response = TestUploads.upload(server, files={"files": ("gone.png", two_faces.read_bytes())})
    path = Path(response.json()[0])
    path.unlink()
    with pytest.raises(VivFaceError, match="gone.png"):
        server.demo.service.admit(str(path), True)


def test_every_file_is_deleted_in_the_end(server, two_faces, face_clip, tmp_path):
    """Uploads and results are all known to what deletes them after their hour; examples stay.

    Uploads of earlier tests that were broken off are not known: they are swept away after a while.
    """
    client = connect(server, tmp_path)
    client.predict(
        handle_file(str(two_faces)), handle_file(str(face_clip)), consent=True, duration=0.2, api_name="/reenact"
    )
    assert server.file_names() and server.work_names() == []
    time.sleep(1)
    delete_files_created_by_app(server.demo, age=0)
    kept = {path for block in server.demo.blocks.values() for path in getattr(block, "keep_in_cache", ())}
    for _ in range(30):  # an upload that an earlier test broke off may still be noticed as such
        sweep(server.files / "gradio", seconds=0)
        if set(server.file_names()) <= kept:
            break
        time.sleep(1)
    assert set(server.file_names()) <= kept
