"""Source, driver and result beside one another or one over the other, in step: one bar plays all of them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from vivface.media.images import is_film

KINDS = ("source", "driver", "result", "motion")


@dataclass(frozen=True)
class Compared:
    """A finished run, as `CompareView` shows it and the list of earlier results keeps it.

    Attributes:
        source (`str`): Path of the image or film that is changed.
        result (`str`): Path of the video that was made.
        driver (`str`, *optional*): Path of the driving video; None for a motion file.
        motion (`str`, *optional*): Path of the motion file that the run saved.
        words (`str`): What was chosen.
        source_start, driver_start (`float`): Seconds of the source and of the driver at the result's beginning.
        fit (`str`): What follows the end of a shorter driver, see `vivface.reenactment.points_track`.
    """

    source: str
    result: str = ""
    driver: str | None = None
    motion: str | None = None
    words: str = ""
    source_start: float = 0.0
    driver_start: float = 0.0
    fit: str = "trim"

    @property
    def title(self) -> str:
        """The files by name."""
        return " + ".join(Path(path).name for path in (self.source, self.driver) if path)


class CompareView(gr.HTML):
    """Shows a `Compared`; hands it over with the paths that the page keeps.

    Args:
        empty (`str`): What is written there as long as there is nothing to show.
        options: As for `gr.HTML`.
    """

    is_template = True

    def __init__(self, empty: str = "After a run, source, driver and result play together here.", **options: Any):
        super().__init__(
            None,
            html_template=TEMPLATE.replace("EMPTY", escape(empty)),
            css_template=STYLE,
            js_on_load=SCRIPT,
            apply_default_css=False,
            **options,
        )

    def preprocess(self, payload: dict[str, Any] | None) -> Compared | None:
        """The run, with the paths of its files where the page keeps them."""
        if not payload:
            return None
        paths = {kind: payload[kind]["path"] if payload.get(kind) else None for kind in KINDS}
        return Compared(**paths, **{name: payload[name] for name in ("words", "source_start", "driver_start", "fit")})

    def postprocess(self, value: Compared | None) -> dict[str, Any] | None:
        """What the browser gets: addresses of the files, which Gradio adds, and how they are to be played."""
        if value is None:
            return None
        files = {kind: getattr(value, kind) for kind in KINDS}
        shown = {
            kind: path and FileData(path=path, orig_name=Path(path).name).model_dump() for kind, path in files.items()
        }
        times = dict(source_start=value.source_start, driver_start=value.driver_start, fit=value.fit)
        return shown | times | {"words": value.words, "moving_source": is_film(value.source)}


TEMPLATE = """
<div class="compare" role="group" aria-label="Source, driver and result, played together">
  <p class="empty">EMPTY</p>
  <div class="filled" hidden>
    <div class="stage" data-layout="row">
      <figure data-kind="source">
        <img alt="The source" hidden><video muted playsinline preload="auto" aria-label="The source" hidden></video>
        <figcaption>Source</figcaption>
      </figure>
      <figure data-kind="driver">
        <video muted playsinline preload="auto" aria-label="The driving video"></video>
        <figcaption>Driver</figcaption>
      </figure>
      <figure data-kind="result">
        <video playsinline preload="auto" aria-label="The result"></video>
        <figcaption>Result</figcaption>
      </figure>
      <div class="line" aria-hidden="true" hidden></div>
    </div>
    <div class="bar">
      <button type="button" class="play">Play</button>
      <input type="range" class="time" min="0" max="1" step="0.01" value="0" aria-label="Time in the video">
      <span class="clock">0.0 s</span>
    </div>
    <div class="bar">
      <label>View
        <select class="layout">
          <option value="row">Side by side</option>
          <option value="source">Slider: source and result</option>
          <option value="driver">Slider: driver and result</option>
        </select>
      </label>
      <label class="split" hidden>Divider
        <input type="range" class="divider" min="0" max="100" step="1" value="50">
      </label>
      <label><input type="checkbox" class="sound" checked> Sound</label>
    </div>
  </div>
</div>
"""

STYLE = """
.compare { color: var(--body-text-color); font-size: 0.9rem; }
.compare .empty { margin: 0.5rem 0; color: var(--body-text-color-subdued); }
.compare [hidden] { display: none !important; }
.compare .stage { position: relative; display: grid; gap: 0.4rem; grid-auto-flow: column; grid-auto-columns: 1fr; }
.compare figure { margin: 0; min-width: 0; }
.compare figure img, .compare figure video {
  display: block; width: 100%; aspect-ratio: var(--shape, 1); object-fit: contain; border-radius: var(--radius-md);
  background: var(--background-fill-secondary);
}
.compare figcaption { margin-top: 0.2rem; text-align: center; color: var(--body-text-color-subdued); }
.compare figure.failed::after { content: "This browser cannot play the file."; color: var(--body-text-color-subdued); }
.compare .stage:not([data-layout="row"]) { display: block; touch-action: pan-y; cursor: ew-resize; }
.compare .stage:not([data-layout="row"]) figure { display: none; }
.compare .stage[data-layout="source"] [data-kind="source"], .compare .stage[data-layout="driver"] [data-kind="driver"],
.compare .stage:not([data-layout="row"]) [data-kind="result"] { display: block; }
.compare .stage:not([data-layout="row"]) [data-kind="result"] {
  position: absolute; inset: 0; clip-path: inset(0 0 0 var(--split, 50%));
}
.compare .stage:not([data-layout="row"]) figcaption { text-align: left; }
.compare .stage:not([data-layout="row"]) [data-kind="result"] figcaption { text-align: right; }
.compare .line {
  position: absolute; top: 0; bottom: 1.5rem; left: var(--split, 50%); width: 2px; background: var(--color-accent);
}
.compare .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem 0.8rem; margin-top: 0.5rem; }
.compare .bar .time { flex: 1 1 8rem; min-width: 0; }
.compare .clock { min-width: 3.5rem; text-align: right; font-variant-numeric: tabular-nums; }
.compare input[type="range"], .compare input[type="checkbox"] { accent-color: var(--color-accent); }
.compare input[type="checkbox"] { appearance: auto; width: 1.1rem; height: 1.1rem; background: none; border: 0; }
.compare label { display: inline-flex; align-items: center; gap: 0.4rem; }
.compare button, .compare select {
  min-height: 2.2rem; padding: 0 0.9rem; border: 1px solid var(--checkbox-border-color); color: var(--body-text-color);
  border-radius: var(--radius-md); background: var(--background-fill-primary); font: inherit; cursor: pointer;
}
.compare select { padding-right: 1.8rem; }
.compare :focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
"""

# Listeners sit on the element itself, as what is inside may be drawn anew; events of media do not bubble, so they are
# caught on their way down.
SCRIPT = """
const find = (selector) => element.querySelector(".compare " + selector);
const media = (kind) => find(`[data-kind=${kind}] video`);
const result = () => media("result");
const others = () => ["source", "driver"].map(media).filter((video) => video.getAttribute("src"));
const starts = (video) => {
  const kind = video.closest("figure").dataset.kind;
  return props.value ? props.value[kind + "_start"] || 0 : 0;
};

// Where another video should be when the result is at a time.
function moment(video, time) {
  const begin = starts(video), length = (video.duration || 0) - begin;
  if (!(length > 0)) return begin;
  const fit = video.closest("figure").dataset.kind === "driver" ? props.value.fit : "trim";
  if (fit === "loop") return begin + (time % length);
  if (fit === "mirror") return begin + Math.min(time % (2 * length), 2 * length - (time % (2 * length)));
  return begin + Math.min(time, length - 0.01);
}

function align(tolerance) {
  const time = result().currentTime;
  for (const video of others()) {
    const wanted = moment(video, time);
    if (Math.abs(video.currentTime - wanted) > tolerance) video.currentTime = wanted;
  }
  find(".time").value = time;
  find(".time").setAttribute("aria-valuetext", `${time.toFixed(1)} seconds`);
  find(".clock").textContent = `${time.toFixed(1)} s`;
}

function show(video, file) {
  video.closest("figure").classList.remove("failed");
  if (video.getAttribute("src") === file.url) return;
  video.src = file.url;
  video.load();
}

function fill() {
  const value = props.value;
  find(".empty").hidden = Boolean(value);
  find(".filled").hidden = !value;
  if (!value) {
    for (const video of element.querySelectorAll("video")) { video.pause(); video.removeAttribute("src"); }
    return;
  }
  const image = find("[data-kind=source] img"), film = media("source");
  image.hidden = value.moving_source;
  film.hidden = !value.moving_source;
  if (value.moving_source) show(film, value.source);
  else { film.removeAttribute("src"); image.src = value.source.url; }
  find("[data-kind=driver]").hidden = !value.driver;
  find("option[value=driver]").hidden = find("option[value=driver]").disabled = !value.driver;
  if (value.driver) show(media("driver"), value.driver); else media("driver").removeAttribute("src");
  if (!value.driver && find(".layout").value === "driver") find(".layout").value = "row";
  show(result(), value.result);
  lay();
}

function lay() {
  const layout = find(".layout").value, sliding = layout !== "row";
  find(".stage").dataset.layout = layout;
  find(".split").hidden = find(".line").hidden = !sliding;
  find(".stage").style.setProperty("--split", find(".divider").value + "%");
}

function toggle() {
  if (result().paused) result().play().catch(() => {}); else result().pause();
}

function drag(event) {
  const box = find(".stage").getBoundingClientRect();
  find(".divider").value = Math.round((100 * (event.clientX - box.left)) / box.width);
  lay();
}

element.addEventListener("click", (event) => {
  if (event.target.closest(".play")) toggle();
  else if (event.target.closest("video") && find(".stage").dataset.layout === "row") toggle();
});
element.addEventListener("input", (event) => {
  const input = event.target;
  if (input.matches(".time")) { result().currentTime = Number(input.value); align(0.02); }
  if (input.matches(".divider, .layout")) lay();
  if (input.matches(".sound")) result().muted = !input.checked;
});
element.addEventListener("pointerdown", (event) => {
  if (find(".stage").dataset.layout === "row" || !event.target.closest(".stage")) return;
  drag(event);
  const stop = () => { removeEventListener("pointermove", drag); removeEventListener("pointerup", stop); };
  addEventListener("pointermove", drag);
  addEventListener("pointerup", stop);
});
const heard = {
  play: () => { find(".play").textContent = "Pause"; others().forEach((video) => video.play().catch(() => {})); },
  pause: () => { find(".play").textContent = "Play"; others().forEach((video) => video.pause()); align(0.02); },
  ended: () => { others().forEach((video) => video.pause()); },
  seeked: () => align(0.02),
  timeupdate: () => align(props.value && props.value.fit === "mirror" ? 0.05 : 0.25),
  loadedmetadata: () => {
    find(".time").max = result().duration || 1;
    find(".stage").style.setProperty("--shape", `${result().videoWidth} / ${result().videoHeight}`);
    align(0.02);
  },
};
for (const [name, listen] of Object.entries(heard)) {
  element.addEventListener(name, (event) => { if (event.target === result()) listen(); }, true);
}
element.addEventListener("loadedmetadata", (event) => { if (event.target !== result()) align(0.02); }, true);
element.addEventListener("error", (event) => { event.target.closest("figure")?.classList.add("failed"); }, true);
watch("value", fill);
fill();
"""
