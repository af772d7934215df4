"""Colours, spacing and scripts of the page."""

import gradio as gr

CSS = """
.gradio-container { overflow: clip !important; }
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
#portrait-column[hidden] { display: none; }
.found { gap: 0.5rem; flex-wrap: nowrap !important; }
.found > * { min-width: 0 !important; }
#still img, #expression img, #live-output img, .fitted img, .fitted video {
  width: 100%; height: 100%; object-fit: contain;
}
.driving video { max-height: 260px; }
.dark { --color-accent: var(--primary-400); }
button[role="tab"].selected { color: var(--primary-700) !important; }
.dark button[role="tab"].selected { color: var(--primary-300) !important; }
.about { max-width: 46rem; }
.about .token { color: var(--body-text-color) !important; }
button:focus-visible, input:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
@media (max-width: 640px) {
  .gradio-container { padding: 0.5rem !important; }
  .intro h1 { font-size: 1.35rem; }
  .expression-row > .column { display: contents; }  /* so that the picture stays in view beside the sliders */
  .expression-row > .column > * { flex: 1 1 100%; }
  #expression { position: sticky; top: 0; z-index: 60; max-height: 38vh; }
}
"""


# Thumbnails of examples come without names, empty images with a name but no role, and code that scrolls cannot be
# reached by keyboard; that is put right here, whenever something is drawn.
JS = """
() => {
  const kinds = {
    "example-portraits": "Example portrait", "example-clips": "Example clip", "example-films": "Example film",
    "film-example-clips": "Example clip",
  };
  const name = () => {
    for (const [id, kind] of Object.entries(kinds)) {
      document.querySelectorAll(`#${id} button.gallery-item`).forEach((button, index) => {
        const label = `${kind} ${index + 1}`;
        if (button.ariaLabel !== label) button.ariaLabel = label;
      });
    }
    document.querySelectorAll('[aria-label="Empty value"]:not([role])').forEach((empty) => { empty.role = "img"; });
    document.querySelectorAll(".about pre:not([tabindex])").forEach((code) => { code.tabIndex = 0; });
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
        # Contrast of at least 4.5 for text and 3 for controls, in light and dark mode
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        color_accent="*primary_600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        checkbox_label_text_color_selected="white",
        checkbox_label_text_color_selected_dark="white",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        link_text_color="*secondary_700",
        link_text_color_active="*secondary_700",
        link_text_color_hover="*secondary_800",
        link_text_color_visited="*secondary_700",
        link_text_color_dark="*secondary_400",
        link_text_color_active_dark="*secondary_400",
        link_text_color_visited_dark="*secondary_400",
        # Subdued labels
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
