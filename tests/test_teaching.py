"""What teachers get: a guide for each lesson, the seconds of its cells, and slides made of the marked cells."""

import base64
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course import NOTEBOOKS
from course.lesson import measurement, read_lesson
from course.pages import slides, teaching
from course.pages.building import build
from course.stale import digest
from notebook_rules import NOW, no_typed_results

PNG = base64.b64encode(b"a picture").decode()
LESSONS = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
SECTIONS = "Open with|Time plan|What students usually get wrong|Live, and precomputed|Exercises|To take away"


def lesson_notebook():
    title = "# 1 · First\n\nProse.\n\n**After this lesson you can**\n- do *this*;\n- do that.\n\n**You need** nothing."
    question = (
        "Words of the part before.\n\n| of | before |\n|---|---|\n| 1 | 2 |\n\n## Question 1 · Why?\nA long story.\n\n"
        "> **Predict first.** How many?\n\n$$a = b$$\n\n<details><summary>Hint</summary>\n\n- hidden\n\n</details>"
    )
    outputs = [
        new_output("display_data", data={"image/png": PNG}, metadata={"image/png": {"alt": "A curve"}}),
        new_output("display_data", data={"text/markdown": "It fell by **3** points."}),
    ]
    verdict = [new_output("display_data", data={"text/html": "<div role='note'>C001: holds here</div>"})]
    slide, code = {"tags": ["slide"]}, {"tags": ["slide", "slide-code"]}
    cells = [
        new_markdown_cell(title, metadata=slide),
        new_code_cell("secret = 1", id="quick"),
        new_markdown_cell(question, metadata=slide),
        new_code_cell("def arm(seed):\n    return 1\n\n\nrun(arm)", id="slow"),
        new_code_cell("secret_figure()", metadata=slide, outputs=outputs),
        new_code_cell("shown_code()", metadata=code, outputs=verdict),
        new_markdown_cell("> **Predict first.** And now?", metadata=slide),
        new_markdown_cell("### A detail\n\nProse.\n\n1. one\n2. two", metadata=slide),
    ]
    measured = {"seconds": 90, "device": "cpu", "cpus": 2, "budget": "standard", "cells": {"slow": 61.2}}
    return new_notebook(cells=cells, metadata={"tdnn": measured})


def without_marks():
    notebook = lesson_notebook()
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)
    return notebook


def deck(path):
    """The slides of a notebook as a parsed page."""
    return BeautifulSoup(slides.page(nbformat.read(path, as_version=4), read_lesson(path)), "html.parser")


@pytest.fixture
def first(tmp_path):
    nbformat.write(lesson_notebook(), tmp_path / "01_first.ipynb")
    return tmp_path / "01_first.ipynb"


def complaints(page, marks):
    """What is wrong with a page of slides."""
    if len(page.select("section")) != marks:
        yield "not one slide for each mark"
    if len(page.find_all("h1")) > 1:
        yield "several titles"
    for slide in page.select("section"):
        own = [text for text in slide.find_all(string=True) if not text.find_parent(class_=["part", "number"])]
        if not (slide.find("img") or "".join(own).strip()):
            yield f"an empty slide: {slide['aria-label']}"
    for tag in page.find_all(["script", "link", "img", "iframe", "source"]):
        asked = (tag.get("src"), tag.get("href"))
        yield from (f"asks for {address}" for address in asked if address and not address.startswith("data:"))
    if re.search(r"url\(|@import", page.style.get_text()):
        yield "a style that loads something"
    if any(not image.get("alt", "").strip() for image in page.find_all("img")):
        yield "a picture without alternative text"


# --- slides -----------------------------------------------------------------------------------------------------------


def test_each_mark_is_one_slide_without_its_code(first):
    page = deck(first)
    assert list(complaints(page, 6)) == []
    title, question, figure, verdict, lonely, detail = page.select("section")
    assert title.h1.get_text() == "1 · First"
    assert [item.get_text() for item in title.select("li")] == ["do this;", "do that."]
    assert "You need" not in title.get_text() and "Prose" not in title.get_text()
    assert figure.img["alt"] == "A curve" and "It fell by 3 points." in figure.get_text()
    assert "secret" not in page.get_text() and "C001" in verdict.get_text() and "shown_code" in verdict.get_text()
    assert [slide.select_one(".part") is not None for slide in page.select("section")] == [False, False] + 4 * [True]
    assert lonely.select_one(".part").get_text() == "Question 1 · Why?" and detail.h2.get_text() == "A detail"
    assert len(detail.select("li")) == 2 and question.find("math")


def test_a_slide_keeps_the_heading_the_vote_lists_tables_and_formulas():
    kept = slides.cut(lesson_notebook().cells[2].source)
    assert kept == "## Question 1 · Why?\n\n> **Predict first.** How many?\n\n$$a = b$$"
    assert slides.cut("Prose\n- one\n- two\n\n```\n- code\n```\n\n> said") == "Prose\n- one\n- two"
    parts = [new_markdown_cell(f"## Part {number}", metadata={"tags": ["slide"]}) for number in (1, 2)]
    assert 'class="part"' not in "".join(slides.bodies(new_notebook(cells=parts)))  # each has its own heading
    assert slides.cut("### Own\n| a |\n|---|\n| 1 |\n\n## Next\nProse.") == "## Own\n\n| a |\n|---|\n| 1 |"


def test_a_lesson_without_marks_has_no_slides_and_the_same_results(first):
    assert slides.page(without_marks(), read_lesson(first)) == ""
    assert digest(without_marks(), NOW) == digest(lesson_notebook(), NOW)


@pytest.mark.parametrize("name", LESSONS)
def test_the_slides_of_the_lessons(name):
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cells = slides.marked(notebook)
    if not cells:
        pytest.skip(f"{name} has no cell with the tag slide yet")
    assert 8 <= len(cells) <= 25
    page = deck(path)
    assert [what for what in complaints(page, len(cells)) if "empty" not in what or measurement(notebook)] == []
    shown = [cell for cell in cells if "slide-code" in cell.metadata.tags]
    assert len(page.select(".highlight")) == len(shown)


def test_a_bad_page_of_slides_is_seen():
    bad = "<style>@import 'x.css'</style><h1>a</h1><h1>b</h1><section aria-label='1'></section><img src='x.png'>"
    assert len(list(complaints(BeautifulSoup(bad, "html.parser"), 2))) == 6


# --- guides -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LESSONS)
def test_every_lesson_has_a_guide_that_names_only_questions_and_exercises_that_are_there(name):
    text, number = teaching.guide(name).read_text(encoding="utf-8"), int(name[:2])
    assert "|".join(re.findall(r"^## (.+)$", text, re.MULTILINE)) == SECTIONS
    assert text.startswith(f"# Teaching lesson {number} · ") and 35 <= text.count("\n") <= 65
    assert all(f"**{minutes} minutes.**" in text for minutes in (30, 60, 90))
    assert list(no_typed_results(new_notebook(cells=[new_markdown_cell(text)]), name)) == []
    lesson = "\n".join(cell.source for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells)
    asked, set_work = set(re.findall(r"\bquestion (\d)", text)), set(re.findall(rf"\b({number}\.\d)\b", text))
    assert asked and asked <= set(re.findall(r"^## Question (\d)", lesson, re.MULTILINE))
    assert len(set_work) >= 2 and set_work <= set(re.findall(r"^### Exercise (\d+\.\d)", lesson, re.MULTILINE))
    pitfalls = lesson.partition("## Pitfalls")[2].partition("## Exercises")[0]
    named = set(re.findall(r"pitfall (\d)", text))
    assert named <= set(re.findall(r"^(?:# |)(\d)\\?\. ", pitfalls, re.MULTILINE))


def test_the_slow_cells_come_from_the_run(first):
    assert teaching.slow_cells(nbformat.read(first, as_version=4)) == [("Question 1 · Why?", "def arm(seed):", 61.2)]
    assert teaching.slow_cells(new_notebook()) is None


def test_the_pages_for_teachers_are_linked(tmp_path):
    source, site = tmp_path / "notebooks", tmp_path / "site"
    source.mkdir()
    nbformat.write(lesson_notebook(), source / "01_checklist.ipynb")
    nbformat.write(new_notebook(cells=without_marks().cells), source / "02_overfitting.ipynb")
    build(source, site)
    pages = {path.stem: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in site.glob("*.html")}
    both = {"guide_01_checklist.html", "slides_01_checklist.html"}

    def links(page):
        return {link["href"] for link in pages[page].main.find_all("a")}

    assert "teaching.html" in links("index") and both <= links("01_checklist") and both <= links("teaching")
    assert "guide_02_overfitting.html" in links("teaching") and "slides_02_overfitting" not in pages
    assert "slides_02_overfitting.html" not in links("teaching") | links("guide_02_overfitting")
    assert "61.2" in pages["guide_01_checklist"].select("tbody td")[-1].get_text()
    assert "Its cells: not measured yet." in pages["guide_02_overfitting"].get_text()
    assert all(len(page.find_all("h1")) == 1 for page in pages.values())
