"""CSS of the HTML report."""

from collections.abc import Mapping

from torchmlp.figures.style.theme import DARK, LIGHT


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {tone};" for name, tone in colours.items())


_COLOURS = f"""\
:root {{ color-scheme: light dark; {_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}
@media print {{ :root {{ color-scheme: light; {_variables(LIGHT)} }} }}
"""

_RULES = """\
*, ::before, ::after { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif;
  overflow-wrap: anywhere;
}
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
@media (min-width: 44rem) { main { padding: 4rem 2rem 6rem; box-sizing: content-box; } }
h1, h2, h3 { line-height: 1.25; margin: 0; font-weight: 650; text-wrap: balance; }
h1 { font-size: 1.75rem; letter-spacing: -0.01em; }
h2 { font-size: 1.3rem; }
h3 { font-size: 1.0625rem; }
p { margin: 0.6em 0; max-width: 70ch; text-wrap: pretty; }
section { margin-top: 3.5rem; }
section > h2 { margin-bottom: 1rem; }
a { color: var(--blue); text-underline-offset: 0.15em; }
a:focus-visible, .box:focus-visible, summary:focus-visible {
  outline: 2px solid var(--blue); outline-offset: 3px; border-radius: 2px;
}
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
code { font-size: 0.9em; }
pre { margin: 0; padding: 1rem 1.1rem; font-size: 0.875rem; line-height: 1.55; white-space: pre; }
/* A shadow on the side where more can be scrolled into sight. */
.box {
  overflow-x: auto; max-width: 100%; --ground: var(--paper);
  background:
    linear-gradient(to right, var(--ground) 40%, transparent) left / 3rem 100%,
    linear-gradient(to left, var(--ground) 40%, transparent) right / 3rem 100%,
    linear-gradient(to right, var(--rule), transparent) left / 1rem 100%,
    linear-gradient(to left, var(--rule), transparent) right / 1rem 100% var(--ground);
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
}
.box:has(> pre) { --ground: var(--panel); border-radius: 6px; margin: 0.75rem 0; }
pre code { font-size: inherit; overflow-wrap: normal; }

.kind, .place, figcaption, footer, .facts dt, th, caption { color: var(--muted); }
.kind { margin: 0 0 0.25rem; font-size: 0.9375rem; }
.verdict {
  margin-top: 1.75rem; padding: 1.1rem 1.25rem; background: var(--panel);
  border-left: 4px solid var(--state); border-radius: 0 6px 6px 0;
}
.verdict.sick { --state: var(--red); }
.verdict.healthy { --state: var(--green); }
.verdict p:last-child { margin-bottom: 0; }
.state { margin: 0 0 0.15rem; color: var(--state); font-weight: 650; }
.facts { display: flex; flex-wrap: wrap; gap: 0.75rem 2rem; margin: 1.5rem 0 0; }
.facts dt { font-size: 0.875rem; }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; }

.overview { margin: 0 0 2.5rem; padding-left: 1.4em; max-width: 70ch; }
.overview li { margin: 0.4em 0; }
article { padding-top: 1.5rem; border-top: 1px solid var(--rule); }
article + article { margin-top: 2rem; }
.place { margin: 0.2rem 0 0.9rem; font-size: 0.9375rem; }
.label { font-weight: 650; margin-right: 0.25em; }
@media (min-width: 56rem) {
  article { display: grid; grid-template-columns: minmax(0, 1fr) 18rem; gap: 3rem; }
}

table { border-collapse: collapse; font-size: 0.9375rem; line-height: 1.4; width: 100%; }
table.wide { min-width: 32rem; }
caption { text-align: left; padding-bottom: 0.3rem; font-size: 0.875rem; }
th, td { text-align: left; padding: 0.45rem 1.25rem 0.45rem 0; vertical-align: baseline; }
th { font-weight: 400; }
th:last-child, td:last-child { padding-right: 0; }
tbody th { color: var(--ink); }
tr + tr > *, tbody tr:first-child > * { border-top: 1px solid var(--rule); }
thead th { font-size: 0.875rem; white-space: nowrap; }
td { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
details { margin-top: 1rem; }
summary { cursor: pointer; color: var(--blue); }
section > h3 { margin-top: 2rem; }

.figures {
  display: grid; gap: 3rem 2.5rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
}
figure { margin: 0; min-width: 0; max-width: 30rem; }
figure svg { display: block; width: 100%; height: auto; margin: 0.9rem 0 0.6rem; }
figure svg { stroke-linejoin: round; stroke-linecap: butt; }
/* Over the font that the drawing was measured with. */
figure svg text { font-family: inherit !important; font-variant-numeric: tabular-nums; }
figcaption { font-size: 0.9375rem; line-height: 1.5; max-width: 60ch; text-wrap: pretty; }
footer { margin-top: 4rem; font-size: 0.875rem; border-top: 1px solid var(--rule); }
@media print { figure, article, .verdict { break-inside: avoid; } .box { overflow: visible; } }
"""

STYLESHEET = _COLOURS + _RULES
