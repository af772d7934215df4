"""Words and looks of the page."""

from html import escape

import gradio as gr

INTRO = """
<header class="intro">
  <h1>vivface</h1>
  <p>One portrait, one video: the portrait moves, speaks and looks as the video does.</p>
</header>
"""

LIVE_HINT = (
    "Choose a portrait, then start your camera: the portrait follows you. When the machine is slower than the camera, "
    "frames are left out; the picture never lags behind."
)

ABOUT = """
### What this is

vivface {version} re-enacts a portrait with the motion of a video. It reads *who* is in the portrait and *how* the face
in the video moves, apart from each other, and makes new frames in the latent spaces of StyleGAN2, {size} x {size}
pixels with the checkpoint of this page. Sound and timing of the video are kept.

### Limits

- Pictures up to {picture} MB, videos up to {video} MB; {seconds} seconds are made at once.
- One upright face, not too small, works best. Hands before the face, large turns of the head and heavy glasses do not.
- The checkpoint that comes with the package was trained on rendered heads: real people come out simplified.

### Consent and provenance

Use pictures of people who agreed, or your own. Do not make anyone say what they did not say. Every picture and video
made here says in its metadata that it is synthetic; please leave that in. Uploads and results are deleted from this
machine within about an hour, and nothing is used for training.

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

CSS = """
.gradio-container main { width: 100% !important; max-width: 1280px !important; margin: 0 auto; }
.intro { padding: 0.25rem 0 0; }
.intro h1 { font-size: 1.6rem; font-weight: 650; letter-spacing: -0.02em; margin: 0; }
.intro p { margin: 0.15rem 0 0; color: var(--body-text-color-subdued); font-size: 1rem; }
.note { padding: 0 !important; min-height: 0 !important; }
.note:not(:has(p)) { display: none; }
.note p { margin: 0.15rem 0; line-height: 1.45; }
.note .error { color: var(--error-text-color); font-weight: 550; }
.note .muted { color: var(--body-text-color-subdued); }
.note .stats { font-variant-numeric: tabular-nums; font-weight: 550; }
.note progress { width: 100%; height: 0.6rem; accent-color: var(--color-accent); }
.note ul { margin: 0.2rem 0 0 1.1rem; color: var(--body-text-color-subdued); }
.seen { gap: 0.5rem; flex-wrap: nowrap !important; }
.seen > * { min-width: 0 !important; }
#still img, #mirror img, #preview img, #result video, #comparison video {
  width: 100%; height: 100%; object-fit: contain;
}
#driving video { max-height: 260px; }
.dark { --color-accent: var(--primary-400); }
.about { max-width: 46rem; }
button:focus-visible, input:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
@media (max-width: 640px) {
  .gradio-container { padding: 0.5rem !important; }
  .intro h1 { font-size: 1.35rem; }
}
"""


# Thumbnails of examples come without names; screen readers get them here, whenever the gallery is drawn anew.
JS = """
() => {
  const kinds = { "example-portraits": "Example portrait", "example-clips": "Example clip" };
  const name = () => {
    for (const [id, kind] of Object.entries(kinds)) {
      document.querySelectorAll(`#${id} button.gallery-item`).forEach((button, index) => {
        const label = `${kind} ${index + 1}`;
        if (button.ariaLabel !== label) button.ariaLabel = label;
      });
    }
  };
  name();
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
}
"""


def theme() -> gr.themes.Base:
    """Quiet colours and the fonts of the visitor's own machine, so that nothing is fetched from elsewhere."""
    look = gr.themes.Soft(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
    )
    return look.set(
        # Contrast of at least 4.5 for text and 3 for controls, by day and by night
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        # Labels that do not shout
        block_border_width="1px",
        block_label_background_fill="*background_fill_primary",
        block_label_background_fill_dark="*background_fill_secondary",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_200",
        block_label_text_weight="500",
        block_title_background_fill="none",
        block_title_background_fill_dark="none",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_title_text_weight="500",
        block_title_padding="0",
    )


def note_line(text: str) -> str:
    """A remark."""
    return f'<p class="muted">{escape(text)}</p>'


def error_line(text: str) -> str:
    """What went wrong, announced to screen readers."""
    return f'<p class="error" role="alert">{escape(text)}</p>'


def progress_line(step: str, frames: int, total: int | None, seconds_left: float | None) -> str:
    """A bar with frames and time left."""
    words = [escape(step)]
    if total and frames:
        words.append(f"{min(frames, total)} of {total} frames")
    if seconds_left is not None:
        words.append(f"about {duration(seconds_left)} left")
    value = f' value="{min(frames, total)}" max="{total}"' if total and frames else ""
    return (
        f'<p class="stats" aria-live="polite">{" · ".join(words)}</p>'
        f'<progress aria-label="Frames made"{value}></progress>'
    )


def stats_line(frames: int, seconds: float, warnings: list[str]) -> str:
    """What was made, how fast, and what should be known about it."""
    rate = frames / seconds if seconds else 0
    line = f"{frames} frame{'s' * (frames != 1)} · {seconds:.1f} seconds · {rate:.1f} frames per second"
    remarks = "".join(f"<li>{escape(warning)}</li>" for warning in dict.fromkeys(warnings))
    return f'<p class="stats">{line}</p>' + (f"<ul>{remarks}</ul>" if remarks else "")


def duration(seconds: float) -> str:
    """Seconds in words."""
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 90 else f"{seconds // 60} min {seconds % 60} s"
