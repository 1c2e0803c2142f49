"""The losses against NumPy."""

import numpy as np
import pytest
import torch

from stages.longtail.learning import losses

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0], [-2.0, 0.0, 4.0], [1.0, 1.0, 1.0]])
LABELS = np.array([0, 2, 2, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cross_entropy_is_the_mean_negative_log_likelihood_in_float32(dtype):
    by_hand = np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(LOGITS, LABELS, strict=True)])
    loss = losses.build("cross_entropy", np.array([1, 1, 2]))(torch.tensor(LOGITS, dtype=dtype), torch.tensor(LABELS))
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
