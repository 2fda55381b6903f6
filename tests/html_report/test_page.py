"""The page: what it says, that nothing in it can break it, and that it needs nothing beside it."""

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from html.parser import HTMLParser
from itertools import pairwise

import matplotlib as mpl
import pytest

from tests.figures.records import (
    HOSTILE,
    RUNS,
    bare_run,
    broken_run,
    deep_run,
    filled,
    healthy_run,
    hostile_run,
    random_run,
    sigmoid_run,
)
from torchmlp.diagnosis.record.record import Design, LayerSample, Record, Sample, Targets, Trial
from torchmlp.diagnosis.report.report import Report
from torchmlp.figures.style.text import clipped, distinct, numbered, percent, printable, short
from torchmlp.figures.style.theme import DARK, LIGHT
from torchmlp.html_report import page

VOID = {"meta", "br", "hr", "img", "input", "link", "path", "use"}


class Reader(HTMLParser):
    """A page as text, elements and scripts; it fails where an element is not closed."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.stack: list[str] = []
        self.feed(document)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.stack[-1:] != ["style"]:
            self.text.append(data)

    def words(self) -> str:
        """All text, its spaces drawn together."""
        return " ".join(" ".join(self.text).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


EXTREMES: dict[str, Callable[[], Report]] = {
    **RUNS,
    "hostile": hostile_run,
    "nan": lambda: filled(math.nan),
    "inf": lambda: filled(math.inf),
    "-inf": lambda: filled(-math.inf),
    "none": lambda: filled(None),
    "zero": lambda: filled(0.0),
    "minus": lambda: filled(-1.0),
    "huge": lambda: filled(1.7e308),
    "large": lambda: filled(1e30),
    "tiny": lambda: filled(5e-324),
    "one": lambda: filled(1.0),
    "no layers": lambda: filled(1.0, layers=0),
    "a lone layer": lambda: filled(0.5, layers=1, samples=1),
    "no samples": lambda: filled(0.5, samples=0),
    "no trials": lambda: filled(0.5, trials=0),
    "many trials": lambda: filled(0.5, trials=60),
    "only a remedy": lambda: Report([], [Trial("x", [], 0, [], math.nan)], Record(Design())),
    "one loss": lambda: Report([], [], Record(Design(), losses=[2.3])),
    "two losses": lambda: Report([], [], Record(Design(), losses=[math.nan, 2.3])),
    "growing layers": lambda: Report([], [], growing()),
    "far steps": lambda: Report([], [], far()),
    "many steps": lambda: Report([], [], Record(Design(), losses=[1.0, 2.0] * 20_000)),
    "100 layers": lambda: deep_run(100),
    "numbers": lambda: Report([], [], numbers()),
    "no patch": lambda: with_patch(None),
    **{f"random {seed}": partial(random_run, seed) for seed in range(20)},
    "odd patch": lambda: with_patch({"a": math.nan, "b": None, "c": [1, {"<": "&"}]}),
}


def growing() -> Record:
    """Samples that each know another number of layers."""
    one = LayerSample(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
    return Record(Design(), samples=[Sample(k, [one] * (3 * k % 5)) for k in range(5)])


def far() -> Record:
    """Steps that floats cannot tell apart, and steps that do not rise."""
    one = LayerSample(z_std=1.0, saturated=0.5, between_sample_variance=0.5, delta_rms=1.0)
    return Record(Design(), samples=[Sample(k, [one]) for k in (10**18 + 1, 10**18, 10**18, 0)])


def numbers() -> Record:
    """A run scored by R², which is below 0."""
    targets = Targets("numbers", 0, -1.0, 1.0, 0.0, 1.0, 0.0)
    return Record(Design(), targets=targets, losses=[1.0, -1.0], score_start=-3.0, score=-0.5)


def with_patch(patch: dict[str, object] | None) -> Report:
    """A report whose best change has this configuration."""
    report = sigmoid_run()
    for trial in report.remedies:
        trial.patch = patch
    return report


@cache
def document_of(name: str) -> str:
    """The page of one of the extremes."""
    return page(EXTREMES[name](), "A run")


every_report = pytest.mark.parametrize("name", EXTREMES)


@every_report
def test_every_report_makes_a_page(name: str) -> None:
    """No report crashes it or makes it warn; the page is well-formed and loads nothing."""
    document = document_of(name)
    read = Reader(document)
    assert document.encode()
    assert not {"link", "img", "iframe", "object", "embed", "image"} & {
        tag for tag, _ in read.elements
    }
    for tag, attributes in read.elements:
        for key in ("src", "href", "xlink:href", "action", "data", "srcset"):
            value = attributes.get(key)
            assert value is None or value.startswith("#"), (tag, value)
        assert not any(key.startswith("on") for key in attributes)
    style = "".join(re.findall(r"<style>(.*?)</style>", document, re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style
    assert re.findall(r"url\((?!#)", document.split("<script")[0]) == []
    assert "http" not in document.split("<script")[0]
    # Every reference leads to an element, and no two elements share an identifier.
    names = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(names) == len(set(names))
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', document.split("<script")[0])
    assert set(targets) <= set(names)


@every_report
def test_page_holds_the_json(name: str) -> None:
    """A program reads back what `to_json` writes."""
    (script,) = Reader(document_of(name)).scripts
    assert json.loads(script) == json.loads(EXTREMES[name]().to_json())
    assert "<" not in script


def test_hostile_text_stays_text() -> None:
    """Names and sentences that mean something in HTML, XML or TeX are shown as they are."""
    document = page(hostile_run(), HOSTILE)
    read = Reader(document)
    assert [attributes.get("type") for attributes in read.all("script")] == ["application/json"]
    assert "<b>&\"'</script><!--<script>$x^2$ \\frac{ 层" in read.words()
    assert "</script><!--" not in document
    assert "\ud800" not in document
    assert "\x00" not in document
    assert "$x^2$" in "".join(re.findall(r"<svg.*?</svg>", document, re.DOTALL))
    figures = re.findall(r"<svg.*?</svg>", document, re.DOTALL)
    assert len(figures) == 6
    for figure in figures:
        assert ET.fromstring(figure).tag == "svg"


def test_verdict_of_a_sick_run() -> None:
    """The verdict comes first, then a line for each finding, then each in full."""
    report = sigmoid_run()
    words = Reader(page(report, "A run")).words()
    order = [
        "A run",
        "Sick Input not normalized in layer 1",
        "made for about 1.",
        "Findings",
        "Saturation in layer 3",
        "a mistake however the run ends",
        "The first layer's gradients are as many times too large.",
        "Remedy Subtract each feature's mean",
        "71.3",
        "init-too-large · layer 2 · seen in weight · before the first step",
        "Explains saturation , vanishing-gradient , learning-rate-too-low",
        "0.123",
        "saturation · layer 3 · seen in z · at step 20",
        "1.55e-12",
        "1.23e5",
        "Tried",
        "Measured",
    ]
    at = 0
    for text in order:
        at = words.index(text, at)


def test_what_was_tried() -> None:
    """Each change with whether it helped, its score and loss beside the untouched run's."""
    words = Reader(document_of("sigmoid")).words()
    assert "untouched – 0.55 2.48 → 1.3 200" in words
    assert "inputs normalised (best) ✓ helped 0.97 2.4 → 0.0282 200" in words
    assert "rate 0.01 did not help 0.31 2.4 → 2.2 200" in words
    assert "2 more" in words
    assert "nn.init.xavier_normal_(layer.weight)" in words
    assert '{"model": {"init_args": {"init": "auto"}}}' in words


def test_nothing_helped() -> None:
    """Where no change helped the page says so, and gives no code."""
    words = Reader(document_of("deep")).words()
    assert "None of the changes tried has made the run a good one." in words
    assert "Best:" not in words


def test_broken_run_says_where() -> None:
    """The first value that was not finite, with what it was computed from."""
    words = Reader(document_of("broken")).words()
    assert "The first inf is in z of layer 4 at step 3, made by linear of 3.2e38" in words
    assert "steps 4 of 200" in words
    assert "is inf at step 3" in words
    assert "200 → nan" in words


def test_healthy_run_is_healthy() -> None:
    """No findings, no remedies, but what was measured."""
    read = Reader(document_of("healthy"))
    words = read.words()
    assert "✓ Healthy Nothing was found; accuracy 0.98 after 500 steps" in words
    assert "Finding" not in words
    assert "Tried" not in words
    assert len(read.all("svg")) == 6


def test_bare_run_has_no_figures() -> None:
    """Nothing measured, nothing shown."""
    read = Reader(page(bare_run(), ""))
    assert "Healthy Nothing was found" in read.words()
    assert read.all("svg") == []
    assert "Measured" not in read.words()
    assert "Training diagnosis" in read.words()


def test_error_of_the_model_is_shown() -> None:
    """What the first batch raised is part of the verdict."""
    report = healthy_run()
    report.record.design.error = "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
    assert "The first batch raised: mat1 and mat2" in Reader(page(report, "A run")).words()


def test_page_is_accessible() -> None:
    """A language, a title, one first heading, no level left out, figures that are told in words."""
    document = document_of("sigmoid")
    read = Reader(document)
    assert read.all("html") == [{"lang": "en"}]
    assert "<title>A run · sick: input-not-normalized in layer 1</title>" in document
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    figures = read.all("svg")
    assert len(figures) == len(read.all("figcaption")) == 6
    for attributes in figures:
        assert attributes["role"] == "img"
        assert re.search(r"\d", attributes["aria-label"] or "")
    assert all(attributes.get("scope") for attributes in read.all("th"))
    boxes = [attributes for attributes in read.all("div") if attributes.get("class") == "box"]
    assert all(b["tabindex"] == "0" and b["role"] == "region" and b["aria-label"] for b in boxes)


def test_captions_say_what_is_seen() -> None:
    """The sentences under the figures hold the figures' numbers."""
    words = Reader(document_of("sigmoid")).words()
    assert "Untouched, the loss goes from 2.48 to 1.3 in 200 steps; with" in words
    assert "At step 0 the deltas of layer 1 are 0.000631 times those of layer 5." in words
    assert "In layer 1 it holds 10 % of z, the least." in words
    assert "At the start it is 0.267 in layer 5 and 30 in layer 1." in words
    assert "Over half at the start: layers 1 and 2; at the end: layers 1 to 3." in words


def test_figures_take_the_pages_colours() -> None:
    """Every colour in a figure is one of the page's, so that it follows light and dark."""
    document = document_of("sigmoid")
    figures = "".join(re.findall(r"<svg.*?</svg>", document, re.DOTALL))
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", figures)) == set()
    assert set(re.findall(r"var\(--(\w+)\)", figures)) <= set(LIGHT)
    assert "<text" in figures


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, by WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(tone: str) -> float:
    """The relative luminance of a colour, by WCAG 2.2."""
    parts = [int(tone[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("tones", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "muted", "blue", "green", "orange", "purple", "red"])
def test_text_stands_out(tones: dict[str, str], name: str) -> None:
    """All that text and lines are drawn in has a contrast of 4.5 on what is behind it."""
    assert contrast(tones[name], tones["paper"]) >= 4.5
    assert contrast(tones[name], tones["panel"]) >= 4.5
    assert contrast(tones["edge"], tones["paper"]) >= 3


def test_contrast_is_the_known_one() -> None:
    """Black on white has 21, the largest there is."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_tones_are_told_apart() -> None:
    """Two names with one tone would be one colour in the figures."""
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert set(LIGHT) == set(DARK)


def test_page_is_the_same_every_time() -> None:
    """No date, no identifier drawn by chance: the same report gives the same page."""
    assert page(sigmoid_run(), "A run") == document_of("sigmoid")


def test_own_settings_of_matplotlib_are_left_alone() -> None:
    """The reader's settings change nothing on the page, and the page nothing in them."""
    wanted = document_of("sigmoid")
    with mpl.rc_context({"text.usetex": True, "svg.fonttype": "path", "font.size": 30.0}):
        own = settings()
        assert page(sigmoid_run(), "A run") == wanted
        assert settings() == own


def settings() -> dict[str, object]:
    """Matplotlib's settings; to look at the backend's would choose one."""
    return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}


def test_matplotlib_waits_until_a_page_is_asked_for() -> None:
    """`import torchmlp` loads no matplotlib, and the page never pyplot."""
    program = (
        "import sys, torchmlp\n"
        "from torchmlp.diagnosis import Report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from torchmlp.html_report import page\n"
        "from torchmlp.diagnosis.record.record import Design, Record\n"
        "page(Report([], [], Record(Design(), losses=[1.0, 2.0])), 'x')\n"
        "assert 'matplotlib' in sys.modules\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_report_is_left_as_it_was() -> None:
    """Drawing changes nothing in the report."""
    report = broken_run()
    before = report.to_json()
    page(report, "A run")
    assert report.to_json() == before


def test_symptoms_and_evidence_may_be_missing() -> None:
    """A finding with nothing but its sentence has no empty table."""
    report = deep_run()
    finding = replace(report.findings[0], evidence={}, symptoms=(), explanation="", remedy="")
    words = Reader(page(Report([finding], [], report.record), "A run")).words()
    assert "Evidence" not in words
    assert "Explains" not in words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (0.82449, "0.824"),
        (-0.41549, "-0.415"),
        (12345.0, "12,345"),
        (12345.6, "12,300"),
        (99999.6, "1e5"),
        (123456.7, "1.23e5"),
        (1e-4, "0.0001"),
        (1.55e-12, "1.55e-12"),
        (5e-324, "4.94e-324"),
        (1.7e308, "1.7e308"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (None, "–"),
        (7, "7"),
    ],
)
def test_short(value: float | None, text: str) -> None:
    """Three significant digits."""
    assert short(value) == text


def test_words_of_numbers() -> None:
    """Shares, lists and ticks read as one writes them."""
    assert percent(0.0) == "0 %"
    assert percent(1.0) == "100 %"
    assert percent(0.9999) == "> 99 %"
    assert percent(math.nan) == "nan"
    assert numbered([]) == ""
    assert numbered([4]) == "4"
    assert numbered([1, 2, 4, 5, 6]) == "1, 2 and 4 to 6"
    assert distinct([2.295, 2.3, 2.305]) == ["2.295", "2.3", "2.305"]
    assert distinct([]) == []
    assert clipped("a\nb", 9) == "a b"
    assert clipped("层层层", 5) == "…层层"
    assert clipped("层层层", 6) == "层层层"
    assert printable("a\x00\ud800\u202e") == "a\ufffd\ufffd\ufffd"
