"""The page in a real browser: it fits, is readable, and says nothing on the console."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest

from tests.figures.records import broken_run, deep_run, hostile_run, sigmoid_run
from torchmlp.diagnosis.report.report import Report
from torchmlp.figures.style.theme import DARK, LIGHT
from torchmlp.html_report import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
    *("--enable-logging=stderr", "--log-level=0", "--window-size=1300,900"),
)
RUNS: dict[str, Callable[[], Report]] = {
    "sigmoid": sigmoid_run,
    "broken": broken_run,
    "hostile": hostile_run,
    "deep": lambda: deep_run(30),
}
WIDTHS = (390, 1280)
SCHEMES = {"light": LIGHT, "dark": DARK}
FRAMES = [(run, width, scheme) for run in RUNS for width in WIDTHS for scheme in SCHEMES]
SMALLEST = 11.0  # CSS pixels

# A frame of each width and scheme around each page; what was measured becomes the document's text.
MEASURE = """
const box = element => { const b = element.getBoundingClientRect();
  return {left: b.left, right: b.right, top: b.top, bottom: b.bottom}; };
const measure = frame => {
  const inner = frame.contentWindow, page = frame.contentDocument;
  const style = element => inner.getComputedStyle(element);
  return {
    width: inner.innerWidth,
    scroll_width: page.scrollingElement.scrollWidth,
    background: style(page.body).backgroundColor,
    loaded: inner.performance.getEntriesByType("resource").length,
    report: JSON.parse(page.getElementById("report").textContent).schema,
    columns: new Set([...page.querySelectorAll("figure")].map(f => box(f).left)).size,
    smallest: Math.min(...[...page.querySelectorAll("main *:not(svg *)")].map(
      e => parseFloat(style(e).fontSize))),
    boxes: [...page.querySelectorAll(".box")].map(box),
    figures: [...page.querySelectorAll("svg")].map(svg => ({
      ...box(svg),
      texts: [...svg.querySelectorAll("text")].map(text => ({
        ...box(text),
        words: text.textContent,
        size: parseFloat(style(text).fontSize) * svg.getScreenCTM().a,
        fill: style(text).fill,
      })),
    })),
  };
};
const frames = FRAMES.map(([run, width, scheme]) => {
  const frame = document.createElement("iframe");
  frame.style = `width: ${width}px; height: 900px; border: 0; color-scheme: ${scheme}`;
  frame.srcdoc = PAGES[run];
  document.body.append(frame);
  return frame;
});
addEventListener("load", () => {
  console.log("measured");
  document.body.textContent = "{" + JSON.stringify(frames.map(measure)) + "}";
});
"""


@dataclass(frozen=True)
class Session:
    """What a browser made of the frames.

    Attributes:
        frames: what was measured, by run, width and scheme.
        console: what the pages said.
    """

    frames: dict[tuple[str, int, str], dict[str, Any]]
    console: list[str]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """One start of the browser, around all pages; a skip where there is none."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"needs a browser, and there is none of {', '.join(BROWSERS)}")
    folder = tmp_path_factory.mktemp("browser")
    pages = {name: page(make(), f"{name} run") for name, make in RUNS.items()}
    values = f"const PAGES = {_script(pages)}, FRAMES = {_script(FRAMES)};"
    wrapper = folder / "frames.html"
    wrapper.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><body><script>{values}{MEASURE}</script></body>',
        encoding="utf-8",
    )
    done = subprocess.run(
        [program, *QUIET, f"--user-data-dir={folder / 'profile'}", "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    written = re.search(r"<body>\{(.*)\}</body>", done.stdout, re.DOTALL)
    assert written, done.stdout[:500] + done.stderr[-2000:]
    measured = json.loads(unescape(written.group(1)))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Session(dict(zip(FRAMES, measured, strict=True)), console)


def _script(value: object) -> str:
    return json.dumps(value).replace("<", "\\u003c")


every_frame = pytest.mark.parametrize("frame", FRAMES, ids=lambda f: f"{f[0]}-{f[1]}-{f[2]}")


def rgb(tone: str) -> str:
    """A colour as a browser writes it."""
    return f"rgb({int(tone[1:3], 16)}, {int(tone[3:5], 16)}, {int(tone[5:], 16)})"


@every_frame
def test_page_fits(browser: Session, frame: tuple[str, int, str]) -> None:
    """Nothing is wider than the window, and figures stand in one column or two."""
    found = browser.frames[frame]
    assert found["width"] == frame[1]
    assert found["scroll_width"] <= frame[1]
    assert found["columns"] == (1 if frame[1] < 800 else 2)
    for box in (*found["figures"], *found["boxes"]):
        # A folded table has no box.
        assert 0 <= box["left"] <= box["right"] <= frame[1]
    assert found["report"] == "torchmlp.diagnosis/2"


@every_frame
def test_figures_are_readable(browser: Session, frame: tuple[str, int, str]) -> None:
    """Text has 11 pixels and more, lies within its figure, and no two texts overlap."""
    figures = browser.frames[frame]["figures"]
    assert len(figures) == 6
    for figure in figures:
        assert figure["right"] - figure["left"] >= 340
        assert 150 <= figure["bottom"] - figure["top"] <= 900
        texts = figure["texts"]
        assert len(texts) >= 5
        for text in texts:
            assert text["size"] >= SMALLEST
            assert figure["left"] - 1 <= text["left"], text
            assert text["right"] <= figure["right"] + 1, text
            assert figure["top"] - 1 <= text["top"], text
            assert text["bottom"] <= figure["bottom"] + 1, text
        pairs = [(a, b) for k, a in enumerate(texts) for b in texts[:k]]
        assert [(a["words"], b["words"]) for a, b in pairs if overlap(a, b)] == []


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two texts touch; a line's box is a third higher than its letters."""
    slack = 0.35 * min(one["bottom"] - one["top"], other["bottom"] - other["top"])
    return bool(
        min(one["right"], other["right"]) - max(one["left"], other["left"]) > 0
        and min(one["bottom"], other["bottom"]) - max(one["top"], other["top"]) > slack
    )


@every_frame
def test_text_outside_of_figures_is_readable(browser: Session, frame: tuple[str, int, str]) -> None:
    """No text of the page is smaller than the figures' own."""
    assert browser.frames[frame]["smallest"] >= SMALLEST


@every_frame
def test_page_follows_the_scheme(browser: Session, frame: tuple[str, int, str]) -> None:
    """Page and figures are in the reader's light or dark colours."""
    found, tones = browser.frames[frame], SCHEMES[frame[2]]
    assert found["background"] == rgb(tones["paper"])
    fills = {text["fill"] for figure in found["figures"] for text in figure["texts"]}
    assert fills == {rgb(tones["ink"]), rgb(tones["muted"])}


def test_page_loads_nothing(browser: Session) -> None:
    """No page fetched anything, and none but the frames around them wrote to the console."""
    assert all(found["loaded"] == 0 for found in browser.frames.values())
    assert len(browser.console) == 1
    assert "measured" in browser.console[0]


def test_overlap_is_seen() -> None:
    """Two lines one on the other overlap, two below each other do not."""
    line = {"left": 0.0, "right": 30.0, "top": 0.0, "bottom": 12.0}
    assert overlap(line, {**line, "left": 20.0, "right": 50.0})
    assert not overlap(line, {**line, "left": 31.0, "right": 50.0})
    assert not overlap(line, {**line, "top": 11.0, "bottom": 23.0})
