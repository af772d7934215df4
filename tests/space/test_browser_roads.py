"""The page in a browser: films, comparing, earlier results; by mouse, by keyboard on a phone, and by axe-core."""

import re
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from docs.browser import open_tab
from tests.clips import write_face_clip
from tests.space.browsing import PATIENCE, TABS, agree, choose, expect, run
from vivface.media import VideoReader
from vivface.provenance import verify
from vivface.space.examples import example_pairs, find_examples, prepare_examples
from vivface.space.text import KEPT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_face_clip(tmp_path_factory.mktemp("film") / "film.mp4", frames=12, size=160)


def times(page, view: str) -> list[float]:
    """Where the videos of a view are, seconds."""
    return page.locator(f"#{view} video[src]").evaluate_all("all => all.map(video => video.currentTime)")


def test_a_film_is_compared_and_found_again(page, film, face_clip, tmp_path):
    open_tab(page, "Film")
    expect(page.locator("#portrait")).to_be_hidden()
    choose(page, "film", film)
    choose(page, "film-driving", face_clip)
    expect(page.locator("#film-note")).to_contain_text("1 face found", timeout=PATIENCE)
    page.locator("#film-run").click()
    expect(page.locator("#film-status")).to_contain_text("confirm", timeout=PATIENCE)
    page.locator("#film-consent input").check()
    page.locator("#film-option-head").get_by_label("Turns as in the driving video").check()
    page.locator("#film-run").click()
    expect(page.locator("#film-status")).to_contain_text(re.compile(r"^\s*12 frames"), timeout=PATIENCE)

    # Source, driver and result side by side, in step; then one over the other.
    page.locator("#film-views").get_by_role("tab", name="Compare").click()
    view = page.locator("#film-compare")
    expect(view.locator("video[src]")).to_have_count(3, timeout=PATIENCE)
    page.wait_for_function(
        "[...document.querySelectorAll('#film-compare video[src]')].every(video => video.readyState >= 2)"
    )
    view.locator(".time").fill("0.3")
    page.wait_for_function(
        "[...document.querySelectorAll('#film-compare video[src]')].every(v => Math.abs(v.currentTime - 0.3) < 0.05)"
    )
    view.locator(".layout").select_option("source")
    expect(view.locator("[data-kind=driver]")).to_be_hidden()
    view.locator(".stage").scroll_into_view_if_needed()
    box = view.locator(".stage").bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + box["height"] / 2)
    assert abs(int(view.locator(".divider").input_value()) - 25) <= 1

    # It is in the list, in words, and can be downloaded again.
    page.locator("#history > button").click()
    page.locator("#history-list button").first.click()
    expect(page.locator("#history-words")).to_contain_text("film.mp4 + ", timeout=PATIENCE)
    expect(page.locator("#history-words")).to_contain_text("Head of the film: Turns as in the driving video")
    with page.expect_download() as download:
        page.locator("#history-download").click()
    download.value.save_as(tmp_path / "again.mp4")
    with VideoReader(tmp_path / "again.mp4") as reader:
        assert len(list(reader)) == 12


def test_an_example_is_shown_by_one_click(page, server, examples, film, uploaded, tmp_path):
    """It was made before, is signed and marked, takes the place of what was chosen, and is in the list."""
    prepare_examples(server.demo.service, example_pairs(*find_examples(examples)))
    choose(page, "portrait", uploaded)
    choose(page, "driving", film)
    expect(page.locator("#driving-note")).to_contain_text("1 face found", timeout=PATIENCE)
    page.locator("#examples").get_by_role("button", name="Portrait").click()
    expect(page.locator("#status")).to_contain_text(KEPT, timeout=PATIENCE)
    expect(page.locator("#status")).to_contain_text(re.compile(r"^\s*21 frames"))
    page.wait_for_function("document.querySelector('#result video').readyState >= 1")
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "example.mp4")
    found = verify(tmp_path / "example.mp4")
    assert found.verdict == "synthetic" and found.metadata and found.manifest.says_synthetic
    page.locator("#views").get_by_role("tab", name="Compare").click()
    expect(page.locator("#compare video[src]")).to_have_count(2, timeout=PATIENCE)
    page.locator("#history > button").click()
    page.locator("#history-list button").first.click()
    expect(page.locator("#history-words")).to_contain_text("portrait.png + driving.mp4: default settings")


def test_an_example_takes_the_place_of_what_runs(page, server, uploaded, tmp_path):
    choose(page, "portrait", uploaded)
    choose(page, "driving", write_face_clip(tmp_path / "long.mp4", frames=450))
    agree(page)
    run(page)
    expect(page.locator("#status")).to_contain_text(re.compile(r"\d+ of 450 frames"), timeout=PATIENCE)
    page.locator("#examples").get_by_role("button", name="Portrait").click()
    expect(page.locator("#status")).to_contain_text(re.compile(r"^\s*21 frames"), timeout=PATIENCE)
    expect(page.locator("#run")).to_be_enabled()
    expect(page.locator("#stop")).to_be_disabled()
    deadline = time.monotonic() + 60
    while len(server.demo.service.queue):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_portrait_beside_its_driver(page, uploaded, face_clip):
    choose(page, "portrait", uploaded)
    choose(page, "driving", face_clip)
    agree(page)
    run(page)
    expect(page.locator("#status")).to_contain_text(re.compile(r"^\s*21 frames"), timeout=PATIENCE)
    page.locator("#views").get_by_role("tab", name="Compare").click()
    view = page.locator("#compare")
    expect(view.locator("[data-kind=source] img")).to_be_visible()
    page.wait_for_function(
        "[...document.querySelectorAll('#compare video[src]')].every(video => video.readyState >= 3)"
    )
    view.locator(".play").click()
    page.wait_for_function("document.querySelector('#compare [data-kind=result] video').currentTime > 0.3")
    driver, result = times(page, "compare")
    assert abs(driver - result) < 0.3


def test_a_film_by_keyboard_on_a_phone(page, film, face_clip):
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("tab", name="Film").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#film-hint")).to_be_visible(timeout=PATIENCE)
    for element, path in (("film", film), ("film-driving", face_clip)):
        with page.expect_file_chooser() as chooser:
            page.locator(f"#{element} button").filter(has=page.locator("input[type=file]")).first.focus()
            page.keyboard.press("Enter")
        chooser.value.set_files(str(path))
    expect(page.locator("#film-note")).to_contain_text("1 face found", timeout=PATIENCE)
    page.locator("#film-consent input").focus()
    page.keyboard.press("Space")
    page.locator("#film-run").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#film-status")).to_contain_text(re.compile(r"^\s*12 frames"), timeout=PATIENCE)
    page.locator("#film-views").get_by_role("tab", name="Compare").focus()
    page.keyboard.press("Enter")
    page.locator("#film-compare .time").focus()
    page.keyboard.press("End")
    page.wait_for_function("document.querySelector('#film-compare [data-kind=result] video').currentTime > 0.4")
    page.locator("#film-compare .layout").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#film-compare .divider")).to_be_visible()
    page.locator("#film-compare .divider").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#film-compare .divider").input_value() == "51"
    page.locator("#history > button").focus()
    page.keyboard.press("Enter")
    page.locator("#history-list button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#history-words")).to_contain_text("film.mp4", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 1


def open_accordions(page) -> None:
    """Open what is closed, each once."""
    closed = page.locator("main button.label-wrap:not(.open):visible")
    for _ in range(closed.count()):
        if closed.count():
            closed.first.click()
    page.wait_for_timeout(300)  # colours fade


def serious(page) -> list[tuple]:
    """What axe-core finds that keeps people out."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        (item["id"], item["help"], [node["html"][:200] for node in item["nodes"]])
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


needs_axe = pytest.mark.skipif(find_spec("axe_playwright_python") is None, reason="needs axe-playwright-python")


@needs_axe
@pytest.mark.parametrize("shape", ["desktop", "phone"])
def test_axe_finds_nothing_serious(page, shape):
    """On the desktop in light colours, on a phone in dark ones."""
    if shape == "phone":
        page.set_viewport_size({"width": 390, "height": 844})
        page.emulate_media(color_scheme="dark")
        page.reload()
        page.locator("#run").wait_for()
    for tab in TABS:
        open_tab(page, tab)
        open_accordions(page)
        assert not (grave := serious(page)), (tab, grave)


@needs_axe
def test_a_coded_clip(page, tmp_path):
    """Encoded and decoded on the page; what is then shown keeps nobody out either."""
    open_tab(page, "Codec")
    choose(page, "clip", write_face_clip(tmp_path / "clip.mp4", frames=4, size=160))
    page.locator("#encode").click()
    expect(page.locator("#codec-status")).to_contain_text("4 frames, 70 bytes a frame", timeout=PATIENCE)
    page.wait_for_function("document.querySelector('#decoded video').readyState >= 1")
    expect(page.locator("#coded")).to_contain_text(".vfc")
    assert not (grave := serious(page)), grave
    page.set_viewport_size({"width": 390, "height": 844})
    assert not (grave := serious(page)), grave
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 1
