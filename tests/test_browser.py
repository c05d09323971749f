"""The site of the committed notebooks in a real browser: light and dark, laptop and phone, without a network."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from browser import Watch, chromium
from course import NOTEBOOKS
from course.pages import cheat_sheet
from course.pages.building import build, draw_cheat_sheet

LAPTOP, PHONE, SCREEN = {"width": 1280, "height": 800}, {"width": 390, "height": 844}, {"width": 1280, "height": 720}

# What a reader would see going wrong, as one sentence each; asked anew for every size and colour scheme.
SIZE = """() => {
    const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    return wide > 0 ? [`the page scrolls sideways by ${wide} pixels`] : [];
}"""
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
CUT = """() => [...document.querySelectorAll("section")].flatMap((slide, place) => {
    const { scrollHeight, clientHeight } = slide.querySelector(".cell, .text");
    const lost = scrollHeight - clientHeight;
    return lost > 1 ? [`slide ${place + 1} is cut off by ${lost} pixels`] : [];
})"""
SENSE = """() => {
    const wrong = [];
    const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map(heading => Number(heading.tagName[1]));
    if (levels.filter(level => level === 1).length !== 1 || levels[0] !== 1) wrong.push(`headings ${levels}`);
    levels.forEach((level, place) => {
        if (level > levels[place - 1] + 1) wrong.push(`level ${level} after ${levels[place - 1]}`);
    });
    for (const image of document.images) {
        if (!image.alt.trim()) wrong.push("a picture without alternative text");
        if (!image.complete || !image.naturalWidth) wrong.push(`a picture that is not drawn: ${image.alt}`);
    }
    if (!document.title || !document.documentElement.lang) wrong.push("no title or no language");
    for (const control of document.querySelectorAll("button, input, a[href]"))
        if (!control.textContent.trim() && !control.ariaLabel) wrong.push(`no name: ${control.outerHTML}`);
    return wrong;
}"""
# Contrast of text and background, as WCAG 2 defines it; 4.5 is its level AA.
CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgb = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * x + .7152 * y + .0722 * z;
    };
    const behind = element => {
        for (let node = element; node; node = node.parentElement) {
            const colour = rgb(getComputedStyle(node).backgroundColor);
            if (colour[3] > 250) return colour;
        }
        return [255, 255, 255];
    };
    const seen = new Map();
    for (const element of document.querySelectorAll("main *, header *")) {
        const texts = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (!texts || element.closest(".anchor, math") || !element.checkVisibility()) continue;
        const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) seen.set(`${element.tagName}.${element.className}`, ratio.toFixed(2));
    }
    return [...seen].map(([what, ratio]) => `${what} has a contrast of only ${ratio}`);
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build(NOTEBOOKS, folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def opened(browser, **options):
    """A page in a context of its own that has no network."""
    context = browser.new_context(offline=True, viewport=LAPTOP, **options)
    return context.new_page()


def test_every_page_is_whole_in_every_light_and_width(browser, site):
    page = opened(browser)
    watch, wrong = Watch(page), []
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri(), wait_until="load")
        wrong += [f"{path.name}: {what}" for what in page.evaluate(SENSE)]
        for size in (LAPTOP, SCREEN):
            page.set_viewport_size(size)
            page.evaluate(DRAWN)
            wrong += [f"{path.name}, {size}: {what}" for what in page.evaluate(CUT)]
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            for name, size in (("laptop", LAPTOP), ("phone", PHONE)):
                page.set_viewport_size(size)
                wrong += [f"{path.name}, {name}, {scheme}: {what}" for what in page.evaluate(SIZE)]
            wrong += [f"{path.name}, {scheme}: {what}" for what in page.evaluate(CONTRAST)]
    page.context.close()
    assert wrong == [] and watch.complaints == [] and watch.away() == []
    assert len({url for url in watch.requests if url.endswith(".html")}) == len(list(site.glob("*.html")))


def test_the_watch_sees_what_goes_wrong(browser, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html><h2>no title</h2><h4>deep</h4><img src='gone.png'><button></button>"
        "<main><p style='color: #999; background: #fff'>pale</p></main>"
        "<div style='width: 5000px'>wide</div><script src='https://example.org/x.js'></script>"
        "<script>console.error('said'); throw Error('thrown')</script>"
    )
    page = opened(browser)
    watch = Watch(page)
    page.goto(bad.as_uri(), wait_until="load")
    assert watch.away() == ["https://example.org/x.js"]
    said = " ".join(watch.complaints)
    assert all(word in said for word in ("gone.png", "example.org", "said", "thrown"))
    wrong = " ".join(page.evaluate(SENSE) + page.evaluate(SIZE) + page.evaluate(CONTRAST))
    assert "headings 2,4" in wrong and "level 4 after 2" in wrong
    assert all(word in wrong for word in ("alternative", "not drawn", "language", "no name", "sideways", "contrast"))
    page.context.close()


def test_the_reader_chooses_light_or_dark_and_the_choice_stays(browser, site):
    page = opened(browser, color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    page.goto((site / "index.html").as_uri())
    before = page.evaluate(paper)
    page.click("#theme")
    chosen = page.evaluate(paper)
    page.goto((site / "glossary.html").as_uri())
    assert chosen != before and page.evaluate(paper) == chosen
    page.context.close()


def test_a_phone_finds_the_lessons_and_the_other_pages(browser, site):
    page = opened(browser)
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
    page.context.close()


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_the_cheat_sheet_is_one_page(browser, site):
    """Now, and when all lessons are there and every line is printed."""
    page = opened(browser)
    page.goto((site / "cheat_sheet.html").as_uri())
    now = page.pdf(prefer_css_page_size=True)
    page.goto((site / "claims.html").as_uri())
    assert pages_of(now) == 1 < pages_of(page.pdf(prefer_css_page_size=True))

    grounds = [cheat_sheet.grounds(found[0]) for found in cheat_sheet.ADVICE.finditer(cheat_sheet.source())]
    full = {"holds": "holds here", "refuted": "refuted here", "not shown": "not shown at this scale"}
    verdicts = {claim: full[words[0]] for advice in grounds for claim, words in advice.items()}
    page.goto((site / "cheat_sheet.html").as_uri())
    page.evaluate("html => document.querySelector('.text').innerHTML = html", draw_cheat_sheet(verdicts))
    assert page.locator("main li").count() == len(grounds)
    assert pages_of(page.pdf(prefer_css_page_size=True)) == 1
    page.context.close()


def test_links_inside_the_site_lead_somewhere(site):
    pages = {path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in site.glob("*.html")}
    anchors = {name: {tag["id"] for tag in page.find_all(id=True)} for name, page in pages.items()}
    lost = []
    for name, page in pages.items():
        for link in page.find_all("a", href=True):
            address = urlsplit(link["href"])
            if address.scheme:
                continue
            target, place = address.path or name, unquote(address.fragment)
            if target not in pages or (place and place not in anchors[target]):
                lost.append(f"{name} → {link['href']}")
    assert lost == []
