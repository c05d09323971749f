"""The site of the committed notebooks in a real browser: light and dark, laptop and phone, without a network."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from browser import Watch, chromium
from course import NOTEBOOKS
from course.pages import cheat_sheet
from course.pages.building import build, draw_cheat_sheet

LAPTOP, SCREEN, PHONE = ({"width": width, "height": height} for width, height in ((1280, 800), (1280, 720), (390, 844)))
LOOKS = (
    *(("light", SCREEN, "cut"), ("light", LAPTOP, "cut size"), ("light", PHONE, "size contrast")),
    *(("dark", PHONE, "size contrast"), ("dark", LAPTOP, "size")),
)
CHECKS = Path(__file__).with_name("page_checks.js").read_text(encoding="utf-8").partition("\n")[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build(NOTEBOOKS, folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser):
    """A page in a context of its own that has no network."""
    with browser.new_context(offline=True, viewport=LAPTOP, color_scheme="light") as context:
        yield context.new_page()


def wrong(page, *checks):
    """What these checks of page_checks.js complain of."""
    return [said for check in checks for said in page.evaluate(f"{CHECKS}.{check}")]


def test_every_page_is_whole_in_every_light_and_width(page, site):
    watch, seen = Watch(page), []
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri(), wait_until="load")
        seen += [f"{path.name}: {what}" for what in wrong(page, "sense")]
        for scheme, size, checks in LOOKS:
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            seen += [f"{path.name}, {size}, {scheme}: {what}" for what in wrong(page, *checks.split())]
    assert seen == [] and watch.complaints == [] and watch.away() == []
    assert len({url for url in watch.requests if url.endswith(".html")}) == len(list(site.glob("*.html")))


def test_the_watch_sees_what_goes_wrong(page, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html><h2>no title</h2><h4>deep</h4><img src='gone.png'><button></button>"
        "<main><p style='color: #999; background: #fff'>pale</p></main>"
        "<div style='width: 5000px'>wide</div><script src='https://example.org/x.js'></script>"
        "<script>console.error('said'); throw Error('thrown')</script>"
    )
    watch = Watch(page)
    page.goto(bad.as_uri(), wait_until="load")
    assert watch.away() == ["https://example.org/x.js"]
    said = " ".join(watch.complaints)
    assert all(word in said for word in ("gone.png", "example.org", "said", "thrown"))
    seen = " ".join(wrong(page, "sense", "size", "contrast"))
    assert "headings 2,4" in seen and "level 4 after 2" in seen
    assert all(word in seen for word in ("alternative", "not drawn", "language", "no name", "sideways", "contrast"))


def test_the_reader_chooses_light_or_dark_and_the_choice_stays(page, site):
    paper = "getComputedStyle(document.body).backgroundColor"
    page.goto((site / "index.html").as_uri())
    before = page.evaluate(paper)
    page.click("#theme")
    chosen = page.evaluate(paper)
    page.goto((site / "glossary.html").as_uri())
    assert chosen != before and page.evaluate(paper) == chosen


def test_a_phone_finds_the_lessons_and_the_other_pages(page, site):
    page.set_viewport_size(PHONE)
    lesson = sorted(path for path in site.glob("*.html") if path.name[0].isdigit())[0]
    page.goto(lesson.as_uri())
    assert not page.is_visible("nav.lessons")
    page.click("header label")
    page.click("nav.lessons li:last-child a")
    assert page.is_visible("main h1")
    page.evaluate("scrollTo(0, 3000)")  # the ways to other pages stay in sight
    page.click("header nav >> text=Cheat sheet")
    assert page.url.endswith("cheat_sheet.html")


def printed(page) -> int:
    """How many pages the page takes on paper."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))


def test_the_cheat_sheet_is_one_page(page, site):
    """Now, and when all lessons are there and every line is printed."""
    page.goto((site / "claims.html").as_uri())
    assert printed(page) > 1
    page.goto((site / "cheat_sheet.html").as_uri())
    assert printed(page) == 1

    grounds = [cheat_sheet.grounds(found[0]) for found in cheat_sheet.ADVICE.finditer(cheat_sheet.source())]
    full = {"holds": "holds here", "refuted": "refuted here", "not shown": "not shown at this scale"}
    full |= {"depends": "depends on the data", "by reading": "by reading: right"}
    verdicts = {claim: full[words[0]] for advice in grounds for claim, words in advice.items()}
    page.evaluate("html => document.querySelector('.text').innerHTML = html", draw_cheat_sheet(verdicts))
    assert page.locator("main li").count() == len(grounds)
    assert printed(page) == 1


def test_links_inside_the_site_lead_somewhere(site):
    pages = {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}
    anchors = {"claims.json": {""}} | {
        name: {"", *re.findall(r'<[^>]*\sid="([^"]+)"', page)} for name, page in pages.items()
    }
    links = {(name, link) for name, page in pages.items() for link in re.findall(r'<a\s[^>]*href="([^"]*)"', page)}
    inside = {(name, link): urlsplit(unescape(link)) for name, link in links if not urlsplit(link).scheme}
    lost = [at for at, to in inside.items() if unquote(to.fragment) not in anchors.get(to.path or at[0], ())]
    assert len(inside) > len(pages) and lost == []
