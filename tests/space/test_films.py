"""Films as the source, for programs that call the page."""

from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from tests.clips import write_face_clip
from tests.space.conftest import Server
from vivface.errors import MediaError
from vivface.media import VideoReader, is_marked_synthetic
from vivface.space.limits import Limits
from vivface.space.options import FILM_OPTIONS, Options, options_in_words, portrait_options
from vivface.space.service import new_visitor


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Client:
    return Client(server.url, verbose=False, download_files=str(tmp_path), httpx_kwargs={"timeout": 120})


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_face_clip(tmp_path_factory.mktemp("film") / "film.mp4", frames=12, size=160)


def test_a_film_is_re_enacted(client, film, face_clip):
    video, row, line = client.predict(
        handle_file(str(film)),
        handle_file(str(face_clip)),
        consent=True,
        head="replace",
        compare=True,
        film_duration=0.4,
        api_name="/reenact_film",
    )
    assert VideoReader(video).size == (160, 160) and VideoReader(row).size == (320, 160)
    assert line.startswith("10 frames in ") and is_marked_synthetic(video)


def test_lengths_and_sound_are_those_of_the_command_line(client, film, face_clip):
    options = dict(consent=True, duration=0.2, api_name="/reenact_film")
    files = handle_file(str(film)), handle_file(str(face_clip))
    assert client.predict(*files, **options)[2].startswith("5 frames in ")
    video, _, line = client.predict(*files, fit="hold", sound="driving", **options)
    assert line.startswith("12 frames in ") and VideoReader(video).has_audio


def test_what_is_not_possible_is_said(client, film, face_clip, uploaded):
    files = handle_file(str(film)), handle_file(str(face_clip))
    with pytest.raises(AppError, match="agreed"):
        client.predict(*files, api_name="/reenact_film")
    for options, message in (
        ({"head": "turn"}, "`head` is 'turn'"),
        ({"fit": "stretch"}, "`fit` is 'stretch'"),
        ({"face": 3}, "Face 3"),
        ({"film_start": 90}, "film.mp4"),
    ):
        with pytest.raises(AppError, match=message):
            client.predict(*files, consent=True, api_name="/reenact_film", **options)
    with pytest.raises(AppError, match="film first"):
        client.predict(None, files[1], consent=True, api_name="/reenact_film")


def test_a_film_beyond_the_limits(film, face_clip):
    limits = Limits(seconds=0.1)
    with pytest.raises(MediaError, match="choose a part"):
        limits.open_film(face_clip, 0, 0)
    with limits.open_film(film, 0.1, 0.2) as part:
        assert len(list(part)) == 5
    with pytest.raises(MediaError, match="MB"):
        Limits(video_bytes=100).open_film(film, 0, 0)


def test_examples_are_made_once(server, examples, film):
    service, clip = server.demo.service, str(examples / "driving.mp4")
    before = len(service.results)
    for path, kept in ((clip, 1), (clip, 1), (str(film), 1)):
        for _ in service.reenact_film(
            new_visitor(), service.admit(path, True), clip, Options(film_duration=0.2, duration=0.2)
        ):
            pass
        assert len(service.results) == before + kept


def test_choices_in_words():
    assert options_in_words(Options()) == "default settings"
    words = options_in_words(
        Options(mouth=1.2, head="replace", refine=False, label=True, edits={"smile": 0.5, "age": 0})
    )
    assert words == (
        'not: Bring back fine detail of the portrait, Mouth 1.2, Write "AI-generated" into a corner, '
        "Head of the film: Turns as in the driving video, smile 0.5"
    )
    assert set(FILM_OPTIONS) - set(portrait_options()) == {"head", "fit", "sound", "film_start", "film_duration"}
