"""The cheat sheet: the advice of cheat_sheet.md that the recorded verdicts support.

A piece of advice ends with the verdicts it rests on, `- Do this. (C001 holds; C002 refuted or not shown)`, and is
printed only while the runs in notebooks/ have settled these claims in this way.
"""

import re
from collections.abc import Mapping

from tdnn_helpers.evidence.verdict import SYMBOLS

from ..lesson import VERDICTS, kind_of
from .drawing import TEXTS

_WORDS = "|".join(VERDICTS)
_GROUND = rf"C\d{{3}} (?:{_WORDS})(?: or (?:{_WORDS}))*"
GROUNDS = re.compile(rf"\s*\(({_GROUND}(?:;\s+{_GROUND})*)\)(?=</li>|\s*$)")
ADVICE = re.compile(r"^- .+(?:\n  .+)*$", re.MULTILINE)


def source() -> str:
    """cheat_sheet.md."""
    return (TEXTS / "cheat_sheet.md").read_text(encoding="utf-8")


def grounds(advice: str) -> dict[str, list[str]]:
    """claim id → the verdicts that support a piece of advice, in the words of `lessons.VERDICTS`.

    Raises ValueError if the advice names no verdict, or all that there are: such a ground could never fail.
    """
    found = GROUNDS.search(advice)
    if not found:
        raise ValueError(f'This advice of the cheat sheet names no verdict, such as "(C001 holds)": {advice}')
    parts = [ground.strip().partition(" ") for ground in found[1].split(";")]
    named = {claim: words.split(" or ") for claim, _, words in parts}
    if any({"holds", "refuted", "not shown"} <= set(words) for words in named.values()):
        raise ValueError(f"This advice of the cheat sheet rests on no verdict, since any would do: {advice}")
    return named


def supported(advice: str, verdicts: Mapping[str, str]) -> bool:
    """Whether all claims of a piece of advice are settled as it says. `verdicts`: claim id → verdict."""
    return all(kind_of(verdicts.get(claim, "open")) in words for claim, words in grounds(advice).items())


def page(verdicts: Mapping[str, str], text: str) -> str:
    """The sheet as Markdown, without unsupported advice and without sections that have lost all of theirs."""
    text = ADVICE.sub(lambda m: m[0] if supported(m[0], verdicts) else "", text)
    text = re.sub(r"\n{2,}- ", "\n- ", text)
    return re.sub(r"^## .+\n+(?=## |\Z)", "", text, flags=re.MULTILINE)


def with_signs(body: str, verdicts: Mapping[str, str]) -> str:
    """The drawn sheet with each ground as a sign and a link to its row on the page of claims."""

    def signs(found: re.Match) -> str:
        claims = re.findall(r"C\d{3}", found[1])
        links = (f'<a href="claims.html#{claim}">{claim} {SYMBOLS[verdicts[claim]]}</a>' for claim in claims)
        return f' <span class="grounds">{" ".join(links)}</span>'

    return GROUNDS.sub(signs, body)
