"""The page in a browser: the main flows, from upload to result."""

import json
import re
import time

import pytest

from docs.browser import open_tab
from tests.clips import write_face_clip
from tests.space.browsing import PATIENCE, TABS, agree, choose, expect, run

pytestmark = pytest.mark.slow


def test_from_upload_to_result(page, uploaded, face_clip):
    choose(page, "portrait", uploaded)
    expect(page.locator("#portrait-note")).to_contain_text("1 face found", timeout=PATIENCE)
    expect(page.locator("#portrait-crop img")).to_be_visible()
    choose(page, "driving", face_clip)
    expect(page.locator("#driving-note")).to_contain_text("1 face found", timeout=PATIENCE)

    run(page)  # not yet: consent is missing
    expect(page.locator("#status")).to_contain_text("confirm", timeout=PATIENCE)
    agree(page)
    run(page)
    expect(page.locator("#status")).to_contain_text(re.compile(r"21 frames .* frames per second"), timeout=PATIENCE)
    video = page.locator("#result video")
    expect(video).to_be_visible()
    page.wait_for_function("document.querySelector('#result video').readyState >= 1")
    assert video.evaluate("video => video.duration") == pytest.approx(0.84, abs=0.06)
    expect(page.locator("#download")).to_be_visible()
    expect(page.locator("#keep-motion")).to_be_visible()


def test_the_second_face(page, two_faces):
    choose(page, "portrait", two_faces)
    expect(page.locator("#portrait-note")).to_contain_text("2 faces found", timeout=PATIENCE)
    first = page.locator("#portrait-crop img").get_attribute("src")
    page.locator("#portrait-choice").get_by_label("2").check()
    page.wait_for_function(
        "before => document.querySelector('#portrait-crop img')?.src !== before", arg=first, timeout=PATIENCE
    )
    # ... and back, by tapping it in the picture
    second = page.locator("#portrait-crop img").get_attribute("src")
    picture = page.locator("#portrait-faces img")
    box, (width, height) = picture.bounding_box(), picture.evaluate("e => [e.naturalWidth, e.naturalHeight]")
    scale = min(box["width"] / width, box["height"] / height)
    x, y = 504 / 700 * width, 115 / 400 * height  # of the larger face
    left, top = box["x"] + (box["width"] - scale * width) / 2, box["y"] + (box["height"] - scale * height) / 2
    page.mouse.click(left + scale * x, top + scale * y)
    page.wait_for_function(
        "before => document.querySelector('#portrait-crop img')?.src !== before", arg=second, timeout=PATIENCE
    )


def test_stop_and_run_again(page, uploaded, face_clip, tmp_path):
    long = write_face_clip(tmp_path / "long.mp4", frames=450)
    choose(page, "portrait", uploaded)
    choose(page, "driving", long)
    agree(page)
    expect(page.locator("#driving-note")).to_contain_text("1 face found", timeout=PATIENCE)
    run(page)
    expect(page.locator("#status")).to_contain_text(re.compile(r"\d+ of 450 frames .* left"), timeout=PATIENCE)
    page.locator("#stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped", timeout=10_000)
    expect(page.locator("#run")).to_be_enabled()
    choose(page, "driving", face_clip)
    expect(page.locator("#driving-note")).to_contain_text("1 face found", timeout=PATIENCE)
    run(page)
    expect(page.locator("#status")).to_contain_text("21 frames ·", timeout=PATIENCE)


def test_bad_uploads_leave_the_page_usable(page, uploaded, media_dir):
    for name, message in (("text.jpg", "not an image"), ("no_face.jpg", "No face")):
        choose(page, "portrait", media_dir / "hard" / name)
        expect(page.locator("#portrait-note [role=alert]")).to_contain_text(message, timeout=PATIENCE)
    for name, message in (("text.mp4", "not a video"), ("no_face.mp4", "No face")):
        choose(page, "driving", media_dir / "hard" / name)
        expect(page.locator("#driving-note [role=alert]")).to_contain_text(message, timeout=PATIENCE)
    choose(page, "portrait", uploaded)
    expect(page.locator("#portrait-note")).to_contain_text("1 face found", timeout=PATIENCE)


def test_a_slider_changes_the_preview(page, uploaded):
    choose(page, "portrait", uploaded)
    expect(page.locator("#portrait-note")).to_contain_text("1 face found", timeout=PATIENCE)
    page.get_by_role("tab", name="Edit").click()
    expect(page.locator("#still-note")).to_contain_text("confirm", timeout=PATIENCE)  # consent is missing
    assert page.locator("#still img").count() == 0
    agree(page)
    expect(page.locator("#still img")).to_be_visible(timeout=PATIENCE)
    before = page.locator("#still img").get_attribute("src")
    page.locator("#edit-age input[type=number]").fill("1.5")
    page.locator("#edit-age input[type=number]").press("Enter")
    page.wait_for_function("before => document.querySelector('#still img')?.src !== before", arg=before)


def test_an_expression_by_keyboard_and_preset(page, uploaded):
    choose(page, "portrait", uploaded)
    expect(page.locator("#portrait-note")).to_contain_text("1 face found", timeout=PATIENCE)
    page.get_by_role("tab", name="Expression").click()
    expect(page.locator("#expression-note")).to_contain_text("confirm", timeout=PATIENCE)  # consent is missing
    assert page.locator("#expression img").count() == 0
    agree(page)
    expect(page.locator("#expression img")).to_be_visible(timeout=PATIENCE)

    def changed(act) -> None:
        before = page.locator("#expression img").get_attribute("src")
        act()
        page.wait_for_function(
            "before => document.querySelector('#expression img')?.src !== before", arg=before, timeout=PATIENCE
        )

    slider = page.locator("#express-mouth-open input[type=range]")
    slider.focus()
    changed(lambda: slider.press("End"))
    assert slider.input_value() == "1"
    page.locator("#preset input").click()
    changed(lambda: page.get_by_role("option", name="surprise").click())
    expect(page.locator("#express-brows input[type=number]")).to_have_value("0.9")
    changed(lambda: page.locator("#reset-expression").click())
    expect(page.locator("#express-brows input[type=number]")).to_have_value("0")


def test_expressions_are_saved_loaded_and_lined_up(page, uploaded, tmp_path):
    choose(page, "portrait", uploaded)
    agree(page)
    page.get_by_role("tab", name="Expression").click()
    expect(page.locator("#expression img")).to_be_visible(timeout=PATIENCE)
    page.locator("#express-smile input[type=number]").fill("0.5")
    page.locator("#express-smile input[type=number]").press("Enter")
    page.locator("#save-expression").click()
    expect(page.locator("#expression-png")).to_be_visible(timeout=PATIENCE)
    files = {}
    for name in ("png", "preset"):
        with page.expect_download() as download:
            page.locator(f"#expression-{name}").click()
        files[name] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[name])
    assert files["png"].read_bytes()[:4] == b"\x89PNG"
    assert json.loads(files["preset"].read_text())["expression"] == {"smile": 0.5}
    page.locator("#reset-expression").click()
    expect(page.locator("#express-smile input[type=number]")).to_have_value("0", timeout=PATIENCE)
    with page.expect_file_chooser() as chooser:
        page.locator("#load-preset").click()
    chooser.value.set_files(str(files["preset"]))
    expect(page.locator("#express-smile input[type=number]")).to_have_value("0.5", timeout=PATIENCE)
    page.get_by_role("button", name="Strip of variants").click()
    page.locator("#make-strip").click()
    expect(page.locator("#strip img")).to_be_visible(timeout=PATIENCE)
    width, height = page.locator("#strip img").evaluate("e => [e.naturalWidth, e.naturalHeight]")
    assert width == 5 * height


def test_parts_of_the_motion(page, uploaded, face_clip):
    choose(page, "portrait", uploaded)
    choose(page, "driving", face_clip)
    agree(page)
    page.get_by_role("button", name="Parts of the motion").click()
    page.locator("#pose input[type=number]").fill("0")
    page.locator("#pose input[type=number]").press("Enter")
    page.locator("#eye-contact input").check()
    run(page)  # the tiny checkpoint shows its generator's images, whose codes hold an expression whole
    expect(page.locator("#status")).to_contain_text("hold an expression whole", timeout=PATIENCE)


def test_verify(page, uploaded):
    page.get_by_role("tab", name="Verify").click()
    page.locator("#check").click()
    expect(page.locator("#verdict")).to_contain_text("Choose an image", timeout=PATIENCE)
    choose(page, "suspect", uploaded)
    page.locator("#check").click()
    expect(page.locator("#verdict [role=status]")).to_contain_text("made or changed by a trained", timeout=PATIENCE)
    expect(page.locator("#verdict li")).to_have_count(3)


def test_live(page, uploaded):
    """Chromium's camera shows a test picture without a face: the portrait is shown, and the rate is measured."""
    choose(page, "portrait", uploaded)
    agree(page)
    expect(page.locator("#portrait-note")).to_contain_text("1 face found", timeout=PATIENCE)
    page.get_by_role("tab", name="Live").click()
    page.locator("#camera").get_by_text("Click to Access Webcam").click()
    page.locator("#camera .button-wrap button").first.click()  # starts the stream
    expect(page.locator("#rate")).to_contain_text(re.compile(r"[1-9]\d*\.\d frames per second"), timeout=PATIENCE)
    expect(page.locator("#live-output img")).to_be_visible()


def test_every_control_has_a_name(page):
    """What a screen reader reads: no input, button or picture without a name."""
    for tab in TABS:
        open_tab(page, tab)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('main button, main input:not([type=file]), main img')]
                .filter(e => e.checkVisibility() && !e.closest('[aria-hidden=true]'))
                .filter(e => !(e.ariaLabel || e.alt || e.title || e.textContent.trim() || e.labels?.length
                               || e.getAttribute('aria-labelledby') || e.getAttribute('alt') === ''))
                .map(e => e.outerHTML.slice(0, 160))"""
        )
        assert not nameless, (tab, nameless)


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(page, width):
    page.set_viewport_size({"width": width, "height": 844})
    for tab in TABS:
        open_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 1, tab


def test_a_closed_page_is_forgotten(browser, server, two_faces, monkeypatch):
    """What was remembered of a visitor goes with the page; Gradio waits an hour, here a second."""
    monkeypatch.setenv("GRADIO_IS_E2E_TEST", "1")
    memory = server.demo.service.memory
    before = memory.nbytes
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    page.locator("#run").wait_for()
    choose(page, "portrait", two_faces)
    expect(page.locator("#portrait-note")).to_contain_text("2 faces found", timeout=PATIENCE)
    assert memory.nbytes > before
    context.close()
    deadline = time.monotonic() + 60
    while memory.nbytes > before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
