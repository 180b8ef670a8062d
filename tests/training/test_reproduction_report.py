"""The report of a table, of results made by hand."""

import dataclasses
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from table_helpers import lines_of, result

from training.reproduction import choose_rows
from training.reproduction_plots import draw_curves
from training.reproduction_report import frame, list_rows, markdown, notes, write_report
from training.table_results import BROKEN_OFF, EXPLODED, Line, RunResult
from training.tables import TABLES, Number, Row

TABLE = TABLES[1]
IDENTITY, CONVOLUTION, DROPOUT = (TABLE[name] for name in ("identity", "convolution", "dropout"))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = '</script><img src=x onerror="document.title=1">|$x^2$ & "ä"'


def _line(row, *runs, table=TABLE):
    return Line(row, row.paper[0], table, runs, "2,000 of 64,000 steps, depth 20 of 110")


def _lines():
    """Of Table 1: a good row, one that exploded, a failed one, one broken off, and the others not run."""
    return lines_of(
        TABLE,
        {
            "identity": (result(1, 8.0, IDENTITY),),
            "convolution": (result(1, None, CONVOLUTION, EXPLODED, ((10, 80.0, 90.0),)),),
            "dropout": (result(1, 27.5, DROPOUT, curve=((10, 50.0, 40.0), (20, 30.0, 27.5))),),
            "scaling_0": (result(1, None, TABLE["scaling_0"], BROKEN_OFF, ((10, 70.0, 75.0),)),),
        },
        "2,000 of 64,000 steps, depth 20 of 110",
    )


def test_the_median_and_mean_and_deviation_of_five_runs():
    """Sorted 6.4 6.5 6.6 6.7 7.0; squares of the distances from 6.64 sum to 0.212, over 4 and rooted 0.2302."""
    errors = (6.5, 6.7, 6.6, 7.0, 6.4)
    line = _line(IDENTITY, *(result(k + 1, error, IDENTITY) for k, error in enumerate(errors)))
    assert (line.median, line.mean) == (6.6, pytest.approx(6.64))
    assert line.deviation == pytest.approx(0.2302, abs=5e-5)
    assert line.here == "6.60 (6.64 ± 0.23)"
    assert line.scale_of_runs == "2,000 of 64,000 steps, depth 20 of 110"


def test_the_papers_rule_of_fail_is_that_of_table_1_alone():
    assert _line(DROPOUT, result(1, 20.01, DROPOUT)).here == "fail (20.01)"
    assert _line(DROPOUT, result(1, 20.0, DROPOUT)).here == "20.00"
    cifar100 = TABLES[3]["baseline_164_cifar100"]
    assert _line(cifar100, result(1, 25.0, cifar100), table=TABLES[3]).here == "25.00"


def test_an_exploded_run_counts_as_the_worst():
    exploded = [result(k, None, DROPOUT, EXPLODED) for k in (1, 2)]
    good = [result(k, 8.0, DROPOUT) for k in (3, 4, 5)]
    assert _line(DROPOUT, exploded[0]).here == "fail (the loss exploded)"
    line = _line(DROPOUT, *exploded, *good)
    assert (line.here, line.mean) == ("8.00", None)
    assert line.scale_of_runs.endswith("depth 20 of 110, 2 of them exploded")


def test_what_is_not_there_is_said():
    lines = {line.name: line for line in _lines()}
    assert (lines["scaling_0"].here, lines["scaling_0.5"].here) == ("broken off after step 10", "not run")
    assert lines["scaling_0"].scale_of_runs.endswith("0 of 5 runs")
    assert lines["scaling_0.5"].scale_of_runs == ""
    assert TABLES[4].rows[0].net == "of another paper"


def test_imagenet_has_two_errors_and_the_papers_decimal_places():
    row = TABLES[5]["original_152"]
    runs = (RunResult(1, "finished", {row.paper[0]: (25.125, 8.0)}, pd.DataFrame(), 7, {}),)
    at_224, at_320 = (Line(row, number, TABLES[5], runs, "full") for number in row.paper)
    assert (at_224.name, at_224.paper, at_224.here) == ("original_152 @224", "23.0 / 6.7", "25.12 / 8.00")
    assert (at_320.paper, at_320.here) == ("21.3 / 5.5", "broken off after step 7")
    inception = TABLES[5]["preactivation_200_inception"]
    assert Line(inception, inception.paper[0], TABLES[5], (), "").paper == "21.66 / 5.79"


def test_every_number_of_the_markdown_stands_beside_its_scale():
    text = markdown(TABLE, _lines())
    assert (
        "| identity | ResNet110 | cifar10 | 6.61 | 8.00 | 2,000 of 64,000 steps, depth 20 of 110, 1 of 5 runs |" in text
    )
    assert re.search(r"^\| dropout \|.*\| fail \| fail \(27\.50\) \| 2,000 of 64,000 steps", text, re.MULTILINE)
    assert text.count("\n| ") == 18  # Heading, rule, sixteen rows.
    assert "Not at the paper's scale, and so no match for its numbers" in text
    assert "above 20 %; so few steps may leave a row there that is none in the paper." in text
    assert "Run on Abacus, 2 cores, no accelerator; keras_preresnet 0, TensorFlow 2, Keras 3." in text


def test_a_table_at_the_papers_scale_does_not_say_that_it_is_not():
    runs = tuple(result(k, 6.5, IDENTITY) for k in range(1, 6))
    lines = lines_of(TABLE, {"identity": runs}, "full: 64,000 steps, depth 110")
    assert not any("Not at" in note or "so few" in note for note in notes(TABLE, lines))
    lines = lines_of(TABLE, {"identity": runs[:4]}, "full: 64,000 steps, depth 110")
    assert notes(TABLE, lines)[0].startswith("Not at the paper's scale")
    assert lines[0].scale_of_runs == "full: 64,000 steps, depth 110, 4 of 5 runs"


def test_the_csv_holds_numbers():
    table = pd.read_csv(io.StringIO(frame(_lines()).to_csv(index=False))).set_index("row")
    assert table.loc["identity", ["paper_error", "error", "runs", "exploded"]].tolist() == ["6.61", 8.0, 1, 0]
    assert table.loc["convolution", ["error", "exploded"]].tolist() == [np.inf, 1]
    assert np.isnan(table.loc["scaling_0.5", "error"])
    assert table.loc["identity", "scale"] == "2,000 of 64,000 steps, depth 20 of 110, 1 of 5 runs"


def test_the_rows_are_listed_without_a_run(capsys):
    list_rows(TABLES[4], choose_rows(TABLES[4], ["all"]))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 24
    assert printed[1] == "  NIN_cifar10: of another paper, on cifar10; the paper: 8.81"
    assert printed[19] == (
        "  preactivation_1001_batch_64_cifar10: PreResNet1001, recipe paper_cifar_1001, on cifar10; "
        "the paper: 4.62 (4.69 ± 0.20)"
    )
    list_rows(TABLES[1], choose_rows(TABLES[1], ["dropout"]))
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["Table 1", "  dropout"]


def test_the_figure_has_a_panel_for_each_row_that_has_run_and_is_readable_in_grey(tmp_path):
    draw_curves(TABLE, _lines(), tmp_path)
    drawn = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB"))
    assert (drawn[..., 0] == drawn[..., 1]).all()
    assert (drawn[..., 0] == drawn[..., 2]).all()
    picture = (tmp_path / "curves.svg").read_text()
    assert picture.count('<g id="axes_') == 4
    again = tmp_path / "again"
    again.mkdir()
    draw_curves(TABLE, _lines(), again)
    assert (again / "curves.svg").read_text() == picture


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A report in which all that may come from outside holds markup."""
    folder = tmp_path_factory.mktemp("report")
    row = Row("row", "ResNet110", (Number(6.0),), data=HOSTILE)
    table = dataclasses.replace(TABLE, rows=(row, *TABLE.rows))
    lines = lines_of(table, {"row": (result(1, 9.0, row),)}, HOSTILE)[:1] + _lines()
    write_report(table, lines, folder)
    return folder


def test_everything_in_page_and_markdown_is_escaped(hostile):
    page, text = (hostile / "table.html").read_text(), (hostile / "table.md").read_text()
    assert page.count("</script>") == 2
    assert "<img src=x" not in page + text
    assert html.escape(HOSTILE) in page
    assert not re.search(r"(src|href)=[\"']?(?!data:)\w+:", page)
    assert "default-src 'none'" in page
    facts = json.loads(re.search(r'id="curves">(.*?)</script>', page, re.DOTALL)[1])
    assert facts[0]["scale"].startswith(HOSTILE)
    _, row = re.findall(r"^\| row \|.*$", text, re.MULTILINE)  # The first is the heading.
    assert len(re.findall(r"(?<!\\)\|", row)) == 7


PROBE = """
const seen = [];
const look = (what, value) => seen.push([what, value]);
addEventListener("error", (event) => look("error", event.message));
const names = () => [...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].textContent);
const here = () => [...document.querySelectorAll("tbody tr")].map((row) => row.cells[4].textContent);
look("first", names());
const heading = document.querySelectorAll("thead button")[4];
heading.click();
look("sorted", here());
look("order", document.querySelectorAll("thead th")[4].getAttribute("aria-sort"));
heading.click();
look("reversed", here());
document.querySelectorAll("thead button")[3].click();
look("paper", [...document.querySelectorAll("tbody tr")].map((row) => row.cells[3].textContent));
[...document.querySelectorAll("tbody button")].find((button) => button.textContent === "dropout").click();
const chosen = document.getElementById("chosen");
look("chosen", [chosen.hidden, chosen.querySelector("h2").textContent, chosen.querySelector("p").textContent]);
look("lines", chosen.querySelectorAll("polyline").length);
look("points", [...chosen.querySelectorAll("circle title")].map((title) => title.textContent));
look("inside", [...chosen.querySelectorAll("circle")].every((point) => point.cx.baseVal.value <= 720));
look("picture", document.querySelector("img").naturalWidth > 100);
look("title", document.title);
document.body.innerHTML = "";
document.body.append(Object.assign(document.createElement("pre"), { textContent: JSON.stringify(seen) }));
"""


@pytest.fixture(scope="module")
def seen(hostile, tmp_path_factory):
    """What a browser shows of the page, before and after clicks."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is on this machine: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    probe = f"<script>addEventListener('load', () => {{ {PROBE} }});</script></body>"
    page = (hostile / "table.html").read_text().replace("</body>", probe)
    (folder / "page.html").write_text(page)
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
    command = [CHROMIUM, *quiet, f"--user-data-dir={folder / 'user'}", "--dump-dom", f"file://{folder / 'page.html'}"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<pre>(.*)</pre>", process.stdout, re.DOTALL)
    assert found, process.stdout[-2000:]
    return dict(json.loads(html.unescape(found[1])))


def test_a_browser_sorts_numbers_before_words_before_nothing(seen):
    assert seen["first"][:3] == ["row", "identity", "scaling_0"]
    assert seen["order"] == "ascending"
    assert seen["sorted"][:4] == ["8.00", "9.00", "fail (27.50)", "fail (the loss exploded)"]
    assert seen["reversed"][:4] == ["fail (27.50)", "9.00", "8.00", "fail (the loss exploded)"]
    assert set(seen["sorted"][4:]) == set(seen["reversed"][4:]) == {"not run", "broken off after step 10"}
    assert seen["paper"] == ["6.00", "6.61", "6.91", "8.70", "9.81", "12.22", "12.35", "12.86"] + ["fail"] * 9


def test_a_browser_shows_the_curves_of_the_row_that_is_chosen(seen):
    hidden, title, words = seen["chosen"]
    assert (hidden, title) == (False, "dropout")
    assert words == "fail (27.50) here (2,000 of 64,000 steps, depth 20 of 110, 1 of 5 runs); the paper: fail"
    assert seen["lines"] == 2
    assert seen["points"] == ["run 1, step 10: 40.00 %", "run 1, step 20: 27.50 %"]
    assert seen["inside"]


def test_nothing_of_the_page_runs_that_should_not(seen):
    assert "error" not in seen
    assert seen["picture"]
    assert seen["title"].startswith("Table 1 of the paper beside runs of this machine")
