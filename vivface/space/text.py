"""Words of the page."""

from html import escape

from vivface.reenactment.result import Report
from vivface.space.jobs import Update

INTRO = """
<header class="intro">
  <h1>vivface</h1>
  <p>One portrait, one video: the portrait moves, speaks and looks around as the person in the video does.</p>
</header>
"""

CONSENT_NEEDED = (
    "Please confirm that the person agreed to this, or that you have the right to use the image or film: tick the box "
    "for it (consent)."
)
NO_PORTRAIT = "Choose a portrait first: an image with a face."
NO_DRIVING = "Choose a driving video first: a video with a face, or a saved motion file."
CONSENT = "The person in my image agreed to this, or I have the right to use it"
NO_FILM = "Choose a film first: a video with a face."
FILM_CONSENT = "The person in my film agreed to this, or I have the right to use it"
FILM_HINT = (
    "The face in your film speaks and looks as the one in the driving video does; everything else in the film stays as "
    "it is."
)
FILM_PARTS_HINT = "0 leaves a part as it is in the film, 1 follows the driving video, 2 goes twice as far."
HISTORY_HINT = "What you made since you opened this page. Results are deleted within about an hour."
KEPT = "This example was made before you asked; the seconds are those of that run."
NO_LONGER_KEPT = "This result is no longer kept: results are deleted within about an hour. Make it again."
LIVE_HINT = (
    "Choose a portrait, then start your camera: the portrait follows you. If the machine is slower than the camera, "
    "frames are skipped, so that the portrait never lags behind."
)
NO_LIVE = (
    "Live is not offered here: this Space borrows a GPU for a short while at a time. Run the page on your own machine "
    "to use it."
)
EDIT_HINT = (
    "The sliders change the portrait for the whole video and for Live; the lines below change it over time, in the "
    "video only."
)
SECOND_DRIVER_HINT = "The head turns and moves as in this video; mouth, eyes, brows and voice come from the first."
PARTS_HINT = (
    "For the video and for Live: 0 leaves a part as it is in the portrait, 1 follows the driving video, 2 goes twice "
    "as far."
)
EXPRESSION_HINT = (
    "Move the photograph itself: its mouth, eyes, brows and head. Left and right are the person's own. The result is "
    "an image; you can download it, and the sliders as a preset."
)
VERIFY_HINT = (
    "Check whether an image or a video was made with a trained model: by its metadata, a signed manifest (C2PA), and "
    "the invisible mark that vivface puts into its pictures."
)
NO_FILE = "Choose an image or a video first."
NO_EDITS = "The checkpoint of this page comes without edits."

ABOUT = """
### What this is

vivface {version} re-enacts a portrait with the motion of a video. It reads *who* is in the portrait and *how* the face
in the video moves, separately, and moves the photograph itself, or shows the frames that it makes in the latent spaces
of StyleGAN2 ({size} x {size} pixels with the checkpoint of this page). Audio and timing of the video are kept.

### Limits

- Images up to {image} MB, videos up to {video} MB; at most {seconds} seconds are made at once, one run after the other.
- One upright face, not too small, works best. Hands in front of the face, large head turns and thick glasses do not.
- The generator that comes with the package was trained on rendered heads: in its own images real people come out
  simplified. The moving photograph ends where a head turns far: beyond about 40 degrees.

### Consent and provenance

Use images of people who agreed, or your own. Do not make anyone say what they did not say. Every image and video made
here is marked as synthetic: in its metadata, in a signed manifest (C2PA) and imperceptibly in its pictures; *Verify*
reads all three. Please leave that in. Uploads and results are deleted from this machine
within about an hour, and nothing is used for training.

### Programs

Every function has a named endpoint: see *Use via API* at the foot of the page. {mcp}

```python
from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")
video, _, motion, line = client.predict(
    handle_file("portrait.png"), handle_file("driving.mp4"), consent=True, api_name="/reenact"
)
```

### Papers

*Enhancing Identity-Deformation Disentanglement in StyleGAN for One-Shot Face Video Re-Enactment* (AAAI 2025);
*Robust One-Shot Face Video Re-enactment using Hybrid Latent Spaces of StyleGAN2* (ICCV 2023) for the edits.
Code, model card and training recipes come with the package.
"""


def note_line(text: str) -> str:
    """A remark, as HTML."""
    return f'<p class="muted">{escape(text)}</p>'


def error_line(text: str) -> str:
    """What went wrong, as HTML that screen readers announce."""
    return f'<p class="error" role="alert">{escape(text)}</p>'


def verdict_lines(lines: list[str]) -> str:
    """What was found in a file, the verdict first, as HTML that screen readers announce."""
    rest = "".join(f"<li>{escape(line)}</li>" for line in lines[1:])
    return f'<div role="status"><p class="stats">{escape(lines[0])}</p><ul>{rest}</ul></div>'


def progress_line(update: Update) -> str:
    """A bar with frames and time left, as HTML."""
    words = [escape(update.step)]
    known = update.total is not None and update.done > 0
    if known:
        words.append(f"{min(update.done, update.total)} of {update.total} {update.unit}")
    if update.seconds_left is not None:
        words.append(f"about {seconds_in_words(update.seconds_left)} left")
    value = f' value="{min(update.done, update.total)}" max="{update.total}"' if known else ""
    return (
        f'<p class="stats" aria-live="polite">{" · ".join(words)}</p>'
        f'<progress aria-label="Progress of the run"{value}></progress>'
    )


def progress_words(update: Update) -> str:
    """The same for programs, as text."""
    return f"{update.step}: {update.done} of {update.total or '?'} {update.unit}"


def report_line(report: Report, kept: bool = False) -> str:
    """What was made, how fast, and what should be known about it, as HTML; `kept`: whether it was made before."""
    line = f"{_frames(report)} · {report.seconds:.1f} seconds · {report.fps:.1f} frames per second"
    words = dict.fromkeys([*([KEPT] if kept else []), *report.warnings])
    remarks = "".join(f"<li>{escape(word)}</li>" for word in words)
    return f'<p class="stats">{line}</p>' + (f"<ul>{remarks}</ul>" if remarks else "")


def report_words(report: Report) -> str:
    """The same for programs, as text."""
    line = f"{_frames(report)} in {report.seconds:.1f} s, {report.fps:.1f} frames per second."
    return " ".join([line, *dict.fromkeys(report.warnings)])


def seconds_in_words(seconds: float) -> str:
    """Such as "40 s" or "3 min 20 s"."""
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 90 else f"{seconds // 60} min {seconds % 60} s"


def _frames(report: Report) -> str:
    return f"{report.frames} frame{'s' * (report.frames != 1)}"
