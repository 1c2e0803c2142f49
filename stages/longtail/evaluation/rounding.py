"""The one rule by which numbers are rounded, in tables, text and metrics files."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

PERCENT, FRACTION = 4, 5  # decimals in metrics files; DVC shows five, so it never rounds again


def rounded(value: float, digits: int) -> float:
    """Round `value` to `digits` decimals, half-way cases away from zero, as a reader rounds 76.85.

    Python would round to 76.8, since the float 76.85 is 76.849999999999994. Here decimals beyond the ninth are taken
    for such noise. nan and infinity stay what they are.
    """
    return float(text(value, digits))


def text(value: float, digits: int, sign: bool = False) -> str:
    """`rounded` as text.

    Args:
        value: the number.
        digits: how many decimals the text has.
        sign: write + before numbers that are not negative.

    Returns:
        The text; zero has no minus.
    """
    number = Decimal(f"{value:.9f}")
    if number.is_finite():
        number = number.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
        number = abs(number) if number.is_zero() else number
    return f"{number:{'+' if sign else ''}f}"
