"""What is said of a cell that was run: see tests/test_papers.py for all of it together."""

import pandas as pd
import pytest

from stages.longtail.papers import results


@pytest.mark.parametrize(
    ("last", "best", "published", "said"),
    [
        (76.9, 80.8, 79.7, True),
        (76.9, 80.8, 80.8, True),
        (76.9, 80.8, 76.9, False),  # the last epoch has it
        (76.9, 80.8, 80.9, False),
        (76.9, 80.8, 70.0, False),
        (76.9, None, 79.7, None),  # top-5 accuracy has no best epoch
        (None, None, 79.7, None),
    ],
)
def test_a_published_number_is_between_if_only_an_earlier_epoch_reaches_it(last, best, published, said):
    frame = pd.DataFrame({"last": [last], "best": [best], "value": [published]}, dtype=float)
    found = results.between(frame).iloc[0]
    assert found is pd.NA if said is None else found == said


@pytest.mark.parametrize(
    ("last", "deviation", "said"),
    [(79.0, None, True), (78.6, None, False), (78.6, 0.6, True), (77.0, 0.6, False), (None, None, None)],
)
def test_within_is_a_point_or_two_standard_deviations(last, deviation, said):
    frame = pd.DataFrame({"last": [last], "last_std": [deviation], "value": [79.7], "tolerance": [1.0]}, dtype=float)
    found = results.within(frame, "last").iloc[0]
    assert found is pd.NA if said is None else found == said
