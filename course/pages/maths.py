"""TeX formulas as MathML, which browsers draw without a script."""

import re

from latex2mathml.converter import convert

# latex2mathml gets the signs right, and leaves to the browser some spaces that TeX would not make, or would.
_BAR = "&#x02016;|&#x0007C;"
_BEFORE_A_SIGN = "&#x0003D;|&#x00028;|&#x0002C;|&#x02248;|&#x02208;"  # = ( , ≈ ∈
_SPACING = (
    (rf"<mo[^>]*>({_BAR}|&#x0002F;)</mo>", r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>'),  # ‖x‖, |x|, a/b
    (r"<mo>(&#x022A4;|&#x0221E;)</mo>", r"<mi>\1</mi>"),  # transposed, infinity: letters, not operators
    (rf"(<mo[^>]*>(?:{_BEFORE_A_SIGN})</mo>)<mo>&#x02212;</mo>", r'\1<mo form="prefix">&#x02212;</mo>'),  # = −1
    (r'<mn mathvariant="double-struck">1</mn>', "<mn>&#x1D7D9;</mn>"),  # the indicator function
    (r"<mi>([a-z]{2,})</mi>(?=<m(?!o))", r'<mi>\1</mi><mspace width="0.167em"/>'),  # log p
    (r"<mo>([A-Za-z]{2,})</mo>(?=<mo[^>]*>&#x00028;)", r'<mo lspace="0.167em" rspace="0">\1</mo>'),  # softmax(z)
    (r"<mo>([A-Za-z]{2,})</mo>", r'<mo lspace="0.167em" rspace="0.167em">\1</mo>'),  # max over x
)


def mathml(formula: str, display: str = "inline") -> str:
    """A TeX formula as a <math> element. `display` is "inline" or "block".

    Raises ValueError, with the formula, if it cannot be converted.
    """
    refusal = f"The formula {formula.strip()} cannot become MathML. Check it, or write it more simply."
    try:
        drawn = convert(formula.strip().replace("{aligned}", "{split}"), display=display)  # split is the name it knows
    except Exception as error:  # latex2mathml has no common class for its errors
        raise ValueError(refusal) from error
    if re.search(r"<m[inot][^>]*>(\\|&<)", drawn):  # it lets unknown commands and environments through as letters
        raise ValueError(refusal)
    for pattern, replacement in _SPACING:
        drawn = re.sub(pattern, replacement, drawn)
    return drawn
