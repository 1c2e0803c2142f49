"""Half-way cases go away from zero, whatever the float of a decimal is."""

import math

import pytest

from stages.longtail.evaluation.rounding import rounded, text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(71.15, "71.2"), (76.85, "76.9"), (-1.95, "-2.0"), (-1.85, "-1.9"), (0.25, "0.3"), (99.95, "100.0"), (2.0, "2.0")],
)
def test_half_way_cases_go_away_from_zero(value: float, expected: str) -> None:
    assert text(value, 1) == expected
    assert rounded(value, 1) == float(expected)


def test_the_noise_of_a_difference_is_no_digit() -> None:
    assert 78.8 - 76.85 != 1.95 and text(76.85 - 78.8, 1) == "-2.0"
    assert 0.1 + 0.2 - 0.25 < 0.0500000001 and text(0.3 - 0.25, 1) == "0.1"


def test_a_sign_is_shown_where_asked_for_and_there_is_no_minus_zero() -> None:
    assert [text(value, 1, sign=True) for value in (1.25, -1.25, 0.0, -0.04)] == ["+1.3", "-1.3", "+0.0", "+0.0"]
    assert text(-0.04, 1) == "0.0" and math.copysign(1, rounded(-0.04, 1)) == 1


def test_digits_below_zero_are_none_and_what_is_no_number_stays() -> None:
    assert text(2.5, 0) == "3" and text(1e-4, 5) == "0.00010" and text(123456.75, 1) == "123456.8"
    assert math.isnan(rounded(math.nan, 2)) and rounded(-math.inf, 2) == -math.inf
