"""The site: pages need no network and keep what a notebook says. Execution goes on after a failure and cleans."""

import base64
import json
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course import ROOT, running
from course.address import badge, ref, repository
from course.cleaning import clean
from course.lesson import cost, read_lesson
from course.pages.building import build
from course.pages.drawing import draw
from course.pages.maths import mathml
from course.stale import digest
from notebook_rules import NOW
from tdnn_helpers.evidence.claims import ledger

PNG = base64.b64encode(b"a picture").decode()
TABLE = "<table class='dataframe'><tr><td>7</td></tr></table>"
BENT = {"image/png": {"alt": 'A "bent" curve'}}
VIEW = "application/vnd.jupyter.widget-view+json"


def lesson_notebook():
    text = (
        "## The loss $L$\n\n$$L = -\\log p$$\n\n## The loss $L$\n\n"
        "[next](02_second.ipynb#end) [data](../data/README.md) [here](#the-loss)\n\n"
        "<details><summary>Hint</summary>\n\nA **bold** hint.\n\n</details>\n\n![alt of a badge](https://example.org/x.svg)"
    )
    outputs = [
        new_output("display_data", data={"image/png": PNG, "text/plain": "<Figure>"}),
        new_output("display_data", data={"image/png": PNG}, metadata=BENT),
        new_output("display_data", data={VIEW: {"model_id": "1"}, "text/plain": "IntSlider(value=3)"}),
        new_output("execute_result", data={"text/html": TABLE}),
        new_output("display_data", data={"text/markdown": "It fell by **3** points, $x < 1$."}),
        new_output("stream", name="stdout", text="1 < 2\n"),
    ]
    cells = [
        new_markdown_cell(f"# 1 · A *first* lesson\n\n{badge('01_first.ipynb')}\n\nWhat it is\nabout.\n\nMore."),
        new_code_cell("secret = 1", metadata={"tags": ["hide-input"]}),
        new_markdown_cell(text),
        new_code_cell("plot()", outputs=outputs),
    ]
    measured = {"seconds": 90, "device": "cpu", "cpus": 2, "budget": "standard"}
    return new_notebook(cells=cells, metadata={"tdnn": measured, "widgets": {"state": {}}})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    source = folder / "notebooks"
    (source / "verdicts").mkdir(parents=True)
    nbformat.write(lesson_notebook(), source / "01_first.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Second\n\n## End")]), source / "02_second.ipynb")
    words = {"C001": "holds here", "C002": "holds exactly", "C003": "refuted here"}
    verdicts = {claim: {"verdict": verdict} for claim, verdict in words.items()}
    (source / "verdicts" / "01_first.json").write_text(json.dumps(verdicts))
    build(source, folder / "site")
    return folder / "site"


def parsed(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def page(site):
    return parsed(site / "01_first.html")


def test_pages_ask_nobody_for_anything_and_lead_to_the_reference_pages(site):
    names = ("claims", "glossary", "cheat_sheet", "teaching")
    for path in site.glob("*.html"):  # none of these lessons has slides, which lead nowhere
        page = parsed(path)
        for tag in page.find_all(["script", "link", "img", "iframe", "source", "video", "object"]):
            for address in (tag.get("src"), tag.get("href"), tag.get("data")):
                assert address is None or re.match(r"data:|style\.css$", address), f"{path.name}: {tag}"
        links = page.select("header nav a")
        assert [link["href"] for link in links] == [f"{name}.html" for name in names]
        here = [link["href"] for link in links if link.has_attr("aria-current")]
        assert here == ([path.name] if path.stem in names else [])
    assert not re.search(r"url\(|@import", (site / "style.css").read_text())


def test_a_page_has_one_title_and_its_contents(page):
    assert [title.get_text() for title in page.find_all("h1")] == ["1 · A first lesson #"]
    assert [link["href"] for link in page.select(".contents a")] == ["#the-loss", "#the-loss-2"]
    assert page.find(id="the-loss") and page.find(id="the-loss-2")


def test_the_claims_have_a_page_that_links_to_the_lessons(site):
    page = parsed(site / "claims.html")
    *_, second, again, missing = page.select("table")
    first = page.select_one("table")
    assert [row.td.get_text() for row in second.select("tbody tr")] == [
        row["id"] for row in ledger()["claims"] if row.get("edition") == 2
    ]
    assert [row["id"] for row in json.loads((site / "claims.json").read_text(encoding="utf-8"))] == [
        row["id"] for row in ledger()["claims"]
    ]
    rows = first.select("tbody tr")
    assert [row.td.get_text() for row in missing.select("tbody tr")] == [row["id"] for row in ledger()["missing"]]
    reread = [row for row in ledger()["claims"] if "reread" in row]
    assert [row.td.get_text() for row in again.select("tbody tr")] == [row["id"] for row in reread]
    changed = {row["id"] for row in reread if row["reread"]["change"] == "rule"}
    assert {row.td.get_text() for row in rows if "measured again" in row.get_text()} <= changed
    assert len(rows) == len(ledger()["claims"]) and page.find("h1").get_text().startswith("What the paper claims")
    assert rows[0].find("a")["href"] == f"{ledger()['claims'][0]['lesson']}.html"
    known = rf"\w+\.html$|claims\.json$|#|{re.escape(repository())}/blob/{ref()}/README\.md#"
    assert [link for link in page.main.find_all("a") if not re.match(known, link["href"])] == []
    assert parsed(site / "index.html").find("a", href="claims.html")


def test_a_page_shows_formulas_figures_coloured_code_and_outputs_without_widget_views(site, page):
    displays = [formula.get("display") for formula in page.select("main math")]
    assert displays == ["inline", "block", "inline", "inline"] and "$" not in page.main.get_text()
    figures = [(figure["alt"], figure["src"]) for figure in page.select("figure img")]
    assert figures == [(alt, f"data:image/png;base64,{PNG}") for alt in ("Figure: The loss $L$", 'A "bent" curve')]
    shown = {".dataframe td": "7", ".said strong": "3", "pre.stdout": "1 < 2\n"}
    assert {place: page.select_one(place).get_text() for place in shown} == shown
    assert "IntSlider" not in page.get_text() and "widget" not in str(page.main)
    code, hint = page.select("main details")  # folded parts keep their content
    assert code["class"] == ["fold"] and "secret" in code.get_text() and hint.find("strong").get_text() == "bold"
    tokens = {token["class"][0] for token in page.select(".highlight span[class]")}
    style = (site / "style.css").read_text()
    assert {"n", "o", "mi"} <= tokens and all(f'.highlight [class^="{kind}"]' in style for kind in "ckms")


def test_links_lead_somewhere(site, page):
    addresses = [link["href"] for link in page.main.find_all("a")]
    assert "02_second.html#end" in addresses
    assert f"{repository()}/blob/{ref()}/data/README.md" in addresses
    assert page.select_one("a[rel=next]")["href"] == "02_second.html" and page.select_one("a[rel=prev]") is None
    assert parsed(site / "02_second.html").select_one("a[rel=prev]")["href"] == "01_first.html"


def test_the_front_page_lists_the_lessons(site):
    first, second = parsed(site / "index.html").select(".course > li")
    words = " ".join(first.get_text().split())
    assert words == "A first lesson What it is about. 1.5 min on 2 CPU cores holds 2 refuted 1"
    assert second.a["href"] == "02_second.html" and "not measured yet" in second.get_text()
    assert (first["data-number"], second["data-number"]) == ("1", "2")


def test_what_is_missing_has_no_link_and_no_name_of_its_own(site, tmp_path):
    meanings = parsed(site / "glossary.html").select("dd")
    said = {meaning.get_text().rpartition("Lesson ")[2].strip(): meaning.a for meaning in meanings}
    assert said["1"]["href"].startswith("01_first.html") and said["11"] is None
    with pytest.raises(FileNotFoundError, match="no notebook"):  # no lesson at all
        build(tmp_path, tmp_path / "site")
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "03_bare.ipynb")
    lesson = read_lesson(tmp_path / "03_bare.ipynb")  # without prose or title it is named by its file
    assert (lesson.title, lesson.description, lesson.cost) == ("03_bare", "", "not measured yet")


def test_a_wide_table_scrolls_by_itself_and_the_same_heading_is_named_once():
    cells = [new_markdown_cell("# One\n## `f(x)` & more\n## 42 %\n## !!!\n\n| a |\n|---|\n| 1 |")]
    body, headings = draw(new_notebook(cells=cells))
    table = BeautifulSoup(body, "html.parser").table
    assert table.parent["class"] == ["wide"] and table.parent["tabindex"] == "0" and table.td.get_text() == "1"
    assert [(level, name) for level, name, _ in headings] == [(1, "one"), (2, "f-x-more"), (2, "42"), (2, "section")]


def test_mathematics_is_spaced_as_tex_spaces_it_and_what_cannot_be_drawn_is_named():
    for formula, part in {
        r"\log p": '<mi>log</mi><mspace width="0.167em"/><mi>p</mi>',
        r"\log(p)": "<mi>log</mi><mo",
        "1/C": '<mo stretchy="false" lspace="0" rspace="0">&#x0002F;</mo>',
        "x = -y": '<mo form="prefix">&#x02212;</mo>',
        r"\begin{aligned} a &= b \\ c &= d \end{aligned}": "<mtr>",
    }.items():
        assert part in mathml(formula), formula
    for formula in (r"\nosuch{x}", "x_{", r"\begin{nosuch} a & b \end{nosuch}"):
        with pytest.raises(ValueError, match=f"{re.escape(formula)} cannot become MathML"):
            mathml(formula)


# --- cleaning and executing -------------------------------------------------------------------------------------------


def test_cleaning_drops_what_depends_on_the_run():
    cell = new_code_cell(
        "1",
        metadata={"execution": {"iopub.execute_input": "2026-01-01"}, "tags": ["setup"], "collapsed": True},
        outputs=[
            new_output("stream", name="stderr", text="\r 10%|#   | 1/10 [00:01<00:09,  1.0it/s]"),
            new_output("stream", name="stderr", text="\r100%|####| 10/10 [00:10<00:00,  1.0it/s]\n"),
            new_output("stream", name="stderr", text="UserWarning: kept\n"),
            new_output("stream", name="stdout", text="one\n"),
            new_output("stream", name="stdout", text="two\n"),
            new_output("display_data", data={"image/png": PNG + "\n", "image/svg+xml": "<svg/>"}, metadata={"x": 1}),
            new_output("display_data", data={VIEW: {}, "text/plain": "Box()"}),
        ],
    )
    twin = new_code_cell("2")
    notebook = new_notebook(cells=[cell, twin], metadata={"widgets": {}, "tdnn": {"seconds": 1}, "colab": {}})
    twin.id = cell.id
    clean(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info", "tdnn"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert cell.metadata == {"tags": ["setup"]} and cell.id != twin.id
    warning, printed, figure = cell.outputs
    assert warning.text == "UserWarning: kept\n" and printed.text == "one\ntwo\n"
    assert figure.data == {"image/png": PNG} and figure.metadata == {}
    assert nbformat.writes(notebook) == nbformat.writes(clean(notebook))


def test_cleaning_gives_missing_ids_that_stay():
    ids = []
    for _ in range(2):
        cells = [{"cell_type": "markdown", "metadata": {}, "source": "same"} for _ in range(2)]
        notebook = clean(nbformat.from_dict({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}))
        nbformat.validate(notebook)
        ids.append([cell.id for cell in notebook.cells])
    assert ids[0] == ids[1] and len(set(ids[0])) == 2


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of lessons, in the place of notebooks/."""
    monkeypatch.setenv("TDNN_STATIC", "0")
    monkeypatch.setattr(running, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(running, "machine", lambda: {"device": "cpu", "cpus": 2, "budget": "smoke"})
    (tmp_path / "runs" / "verdicts").mkdir(parents=True)
    running.NOTEBOOKS.mkdir()
    return running.NOTEBOOKS


def test_a_failing_lesson_does_not_stop_the_others(source, tmp_path, capsys):
    out = tmp_path / "out"
    nbformat.write(new_notebook(cells=[new_code_cell("raise ValueError('on purpose')")]), source / "01_bad.ipynb")
    write = "import os, pathlib\nprint(os.environ['TDNN_STATIC'], pathlib.Path().resolve().name)"
    write += "\n# It took <!-- time -->not measured yet<!-- /time -->."
    cells = [new_code_cell(write), new_code_cell("import time\ntime.sleep(1)", id="slow")]
    nbformat.write(new_notebook(cells=cells), source / "02_good.ipynb")
    before = [path.read_bytes() for path in sorted(source.iterdir())]
    (tmp_path / "runs" / "verdicts" / "02_good.json").write_text("{}")

    assert running.run(out, []) == 1
    out_said, failed = capsys.readouterr()
    assert "01_bad FAILED" in out_said and "02_good done" in out_said and "on purpose" in failed
    good = nbformat.read(out / "02_good.ipynb", as_version=4)
    assert good.cells[0].outputs[0].text == "1 notebooks\n"
    assert good.cells[0].source.endswith(f"<!-- time -->{cost(good.metadata.tdnn)}<!-- /time -->.")
    assert set(good.metadata.tdnn) == {"seconds", "cells", "device", "cpus", "budget", "source"}
    assert list(good.metadata.tdnn.cells) == ["slow"] and 1 <= good.metadata.tdnn.cells.slow < 5
    assert nbformat.read(out / "01_bad.ipynb", as_version=4).cells[0].outputs[0].output_type == "error"
    assert (out / "verdicts" / "02_good.json").exists()
    assert [path.read_bytes() for path in sorted(source.iterdir())] == before

    assert running.run(source, ["01_bad"]) == 1  # in place: a failing lesson keeps its last good outputs
    assert (source / "01_bad.ipynb").read_bytes() == before[0]
    with pytest.raises(FileNotFoundError, match="no lesson 09_none"):
        running.run(out, ["09_none"])


def test_a_lesson_that_is_drawn_anew_keeps_its_time_and_the_package_is_read_once(source, monkeypatch):
    read = []
    monkeypatch.setattr(running, "Definitions", lambda package: read.append(package) or NOW)
    told = "<!-- time -->1.5 min on 2 CPU cores<!-- /time -->"
    measured = {"seconds": 90, "cells": {"a": 80.0}, "device": "cpu", "cpus": 2, "budget": "standard", "source": "old"}
    cells = [new_markdown_cell(f"# 1 · One\n\n{told}"), new_code_cell("print('new words')")]
    nbformat.write(new_notebook(cells=cells, metadata={"tdnn": measured}), source / "01_one.ipynb")
    nbformat.write(new_notebook(cells=cells), source / "02_never_measured.ipynb")
    assert running.run(source, [], keep_times=True) == 0 and read == [ROOT / "tdnn_helpers"]
    one, two = (nbformat.read(path, as_version=4) for path in sorted(source.glob("*.ipynb")))
    assert one.cells[1].outputs[0].text == "new words\n" and told in one.cells[0].source
    assert one.metadata.tdnn == {**measured, "source": digest(one, NOW)}
    assert two.metadata.tdnn.budget == "smoke" and told not in two.cells[0].source
