"""The page of a table: one file that needs no network and can be read without scripts; all in it is escaped."""

import base64
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from training.table_columns import Column
from training.table_results import Line

HERE = Path(__file__).parent
# Nothing may be loaded but what the page itself holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(heading: str, notes: Sequence[str], columns: Sequence[Column], lines: Sequence[Line], figure: str) -> str:
    """Returns the page.

    Args:
        heading: Its title.
        notes: Paragraphs above the table.
        columns: Of the table.
        lines: Of the table.
        figure: SVG of all curves.
    """
    style, script = (HERE / f"reproduction_page.{kind}" for kind in ("css", "js"))
    picture = base64.b64encode(figure.encode()).decode()
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(heading)}</title>
<style>
{style.read_text()}</style>
</head>
<body>
<h1>{escape(heading)}</h1>
{"".join(f"<p>{escape(note)}</p>" for note in notes)}
<p class="scripted" hidden>A click on a heading sorts, a click on a row shows its curves.</p>
<div class="wide"><table>
<thead><tr>{"".join(map(_heading, columns))}</tr></thead>
<tbody>
{"".join(_row(columns, index, line) for index, line in enumerate(lines))}</tbody>
</table></div>
<section id="chosen" aria-live="polite" hidden></section>
<h2>All curves</h2>
<img alt="Training and test error of every run over its steps" src="data:image/svg+xml;base64,{picture}">
<script type="application/json" id="curves">{_in_script(_curves(lines))}</script>
<script>
{script.read_text()}</script>
</body>
</html>
"""


def _heading(column):
    text = f"{column.heading} ({column.unit})" if column.unit else column.heading
    return f'<th scope="col" aria-sort="none"><button type="button">{escape(text)}</button></th>'


def _row(columns, index, line):
    """Cells with the keys that they are sorted by; the first is the row's name."""
    keys, texts = zip(*((_key(column.key(line)), escape(column.text(line))) for column in columns), strict=True)
    name = texts[0]
    if any(len(run.curve) for run in line.runs):
        name = f'<button type="button" aria-pressed="false">{name}</button>'
    cells = [f'<th scope="row" data-key="{keys[0]}">{name}</th>']
    cells += [f'<td data-key="{key}">{text}</td>' for key, text in zip(keys[1:], texts[1:], strict=True)]
    return f'<tr data-row="{index}">{"".join(cells)}</tr>\n'


def _key(value):
    """What a cell is sorted by: a number, or text; empty where there is nothing."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isinf(value):
        return "fail"
    return escape(str(value))


def _curves(lines):
    """Of each line the steps and errors of its runs."""
    columns = ("step", "train_error", "test_error")
    return [
        {
            "name": line.name,
            "here": line.here,
            "paper": line.paper,
            "scale": line.scale_of_runs,
            "runs": [
                {"number": run.number, "status": run.status}
                | {name: [_finite(value) for value in run.curve[name].tolist()] for name in columns}
                for run in line.runs
                if len(run.curve)
            ],
        }
        for line in lines
    ]


def _finite(value):
    return round(value, 3) if math.isfinite(value) else None


def _in_script(facts):
    """JSON that cannot end the element it stands in."""
    return json.dumps(facts, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
