"""Channel whitening (`end_to_end` Eq. 13) against NumPy's eigenvalues, and its gradient by finite differences."""

import numpy as np
import pytest
import torch

from stages.longtail.models.whitening import InverseSquareRoot, Whitening

EPSILON = 1e-5
RANDOM = np.random.default_rng(0)


def correlated(images, channels=8):
    """Features whose channels depend on one another, standard deviations 0.5 to 2: float32 (images, channels)."""
    (first, _), (second, _) = (np.linalg.qr(RANDOM.normal(size=(channels, channels))) for _ in range(2))
    mixture = first @ np.diag(np.linspace(0.5, 2, channels)) @ second
    return torch.tensor(RANDOM.normal(size=(images, channels)) @ mixture + 3, dtype=torch.float32)


def whitening(channels=8, epsilon=EPSILON, momentum=0.1, small=EPSILON):
    """small: epsilon of batches with no more images than channels; the formula is the same with any."""
    return Whitening(channels, epsilon, momentum, small).train()


def zca_by_hand(x, epsilon=EPSILON):
    """(X - u) V diag(1 / sqrt(l + epsilon)) V', images as rows."""
    centred = np.asarray(x, np.float64) - np.asarray(x, np.float64).mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred) + epsilon * np.eye(centred.shape[1]))
    return centred @ (vectors / np.sqrt(values)) @ vectors.T


def test_whitened_features_have_mean_zero_and_the_identity_covariance():
    y = whitening()(correlated(1000)).double().numpy()
    assert y.mean(0) == pytest.approx(np.zeros(8), abs=1e-4)
    assert np.cov(y.T, bias=True) == pytest.approx(np.eye(8), abs=1e-3)


def test_it_is_zca_whose_whitener_is_symmetric():
    x = correlated(1000)
    assert whitening()(x).numpy() == pytest.approx(zca_by_hand(x), abs=1e-3)
    # The only linear maps that whiten are rotations of one another; ZCA's, and no other, is symmetric.
    solved = np.linalg.lstsq(x.double().numpy() - x.double().numpy().mean(0), whitening()(x).double().numpy())[0]
    assert solved == pytest.approx(solved.T, abs=1e-3)


def test_a_large_epsilon_shrinks_the_weak_directions_by_equation_13():
    x = correlated(50)
    assert whitening(epsilon=0.5)(x).numpy() == pytest.approx(zca_by_hand(x, 0.5), abs=1e-4)


def test_two_images_become_plus_and_minus_the_direction_between_them():
    """The covariance is d d', d half the difference: whitened, d has the length 1. There are 64 channels."""
    x = correlated(2, 64)
    d = (x[0] - x[1]) / 2
    y = whitening(64)(x)
    assert torch.allclose(y[0], d / d.norm(), atol=1e-3) and torch.allclose(y[1], -d / d.norm(), atol=1e-3)


def test_a_batch_smaller_than_the_channels_is_whitened_in_the_directions_that_it_has():
    """10 images span 9 directions around their mean."""
    y = whitening(64)(correlated(10, 64)).double().numpy()
    values = np.linalg.eigvalsh(np.cov(y.T, bias=True))
    assert values[-9:] == pytest.approx(np.ones(9), abs=1e-2) and values[:-9] == pytest.approx(np.zeros(55), abs=1e-2)


def near_of_its_class(small, images, channels=64):
    """The share of images whose nearest one in their batch is of their class, before and after whitening.

    Ten classes, their means far apart, their images close around them, in every channel.
    """
    random, shares = np.random.default_rng(0), []
    layer, means = whitening(channels, small=small), random.exponential(size=(10, channels))
    for _ in range(10):
        labels = random.integers(0, 10, images)
        x = torch.tensor(means[labels] + 0.2 * random.normal(size=(images, channels)), dtype=torch.float32)
        distances = [torch.cdist(features, features).fill_diagonal_(np.inf) for features in (x, layer(x))]
        shares.append([(labels[d.argmin(1).numpy()] == labels).mean() for d in distances])
    return np.mean(shares, 0)


@pytest.mark.parametrize("images", [40, 64])
def test_classes_stay_apart_in_a_batch_that_has_no_more_images_than_channels(images):
    """By a small epsilon any two images are equally far apart, whatever their classes; not by the default one."""
    before, lost = near_of_its_class(EPSILON, images)
    assert before == pytest.approx(1, abs=0.03) and lost < 0.5
    assert near_of_its_class(Whitening(2, EPSILON, 0.1).small_batch_epsilon, images)[1] > before - 0.02


def test_the_larger_epsilon_is_that_of_batches_with_no_more_images_than_channels_alone():
    for images, epsilon in ((7, 0.5), (8, 0.5), (9, EPSILON)):
        x = correlated(images)
        assert whitening(small=0.5)(x).numpy() == pytest.approx(zca_by_hand(x, epsilon), abs=1e-3 / epsilon**0.5)
    x = correlated(5)
    assert torch.equal(whitening(epsilon=0.7, small=0.1)(x), whitening(epsilon=0.7, small=0.7)(x)), "the larger one"


def test_evaluation_has_the_epsilon_of_the_batches_that_it_was_trained_on():
    """All small: 0.5; one of them, momentum 1/4: 1e-5 + (0.5 - 1e-5) / 4."""
    layer = whitening(momentum=1.0, small=0.5)
    x = correlated(6)
    trained = layer(x)
    assert torch.allclose(layer.eval()(x), trained, atol=1e-5)
    layer = whitening(momentum=0.25, small=0.5)
    layer(correlated(20))
    layer(correlated(6))
    assert layer.running_epsilon.item() == pytest.approx(0.1250075)


def test_a_constant_channel_gives_zeros():
    x = correlated(100)
    x[:, 3] = 7.0
    y = whitening()(x)
    assert torch.allclose(y[:, 3], torch.zeros(100), atol=1e-3)
    assert y.numpy() == pytest.approx(zca_by_hand(x), abs=1e-3)


@pytest.mark.parametrize("constant", [0, 30, 64])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("images", [1, 2, 30, 1000])
def test_numbers_and_gradients_stay_finite_whatever_the_batch(images, scale, constant):
    """Rounding must not make an eigenvalue of a singular covariance negative, however large the others."""
    for _ in range(5):
        x = scale * correlated(images, 64)
        x[:, :constant] = scale
        layer, x = whitening(64, momentum=1.0), x.requires_grad_()
        y = layer(x)
        (y * torch.from_numpy(RANDOM.normal(size=y.shape)).float()).sum().backward()
        assert y.isfinite().all() and x.grad.isfinite().all()
        assert layer.eval()(x).isfinite().all()


def test_one_image_is_its_own_mean():
    assert not whitening()(correlated(1)).any()


def test_running_statistics_move_by_the_momentum():
    """Each batch 3 and 7 with momentum 1/4: the mean goes 0, 1.25, 2.1875; the variance 1, 0.75 + 4 / 4, ..."""
    layer = whitening(1, momentum=0.25)
    for mean, variance in ((1.25, 1.75), (2.1875, 2.3125)):
        layer(torch.tensor([[3.0], [7.0]]))
        assert layer.mean.tolist() == [mean] and layer.covariance.tolist() == [[variance]]


def test_the_running_covariance_is_the_batchs_own_with_momentum_1():
    x, layer = correlated(40), whitening(momentum=1.0)
    layer(x)
    assert layer.covariance.numpy() == pytest.approx(np.cov(x.double().numpy().T, bias=True), abs=1e-4)
    assert layer.eval()(x).numpy() == pytest.approx(zca_by_hand(x), abs=1e-3)


def test_in_evaluation_the_running_statistics_whiten_and_stay():
    layer = whitening(2, epsilon=0.5).eval()
    layer.mean.copy_(torch.tensor([1.0, 2.0]))
    layer.covariance.copy_(torch.tensor([[3.5, 0.0], [0.0, 8.5]]))  # 4 and 9 with epsilon
    assert layer(torch.tensor([[5.0, 8.0]])).tolist() == [pytest.approx([2, 2])]
    assert layer.mean.tolist() == [1, 2] and layer.covariance.tolist() == [[3.5, 0], [0, 8.5]]


def test_in_evaluation_an_image_does_not_depend_on_its_batch():
    layer = whitening()
    layer(correlated(30))
    layer.eval()
    x = correlated(9)
    assert torch.allclose(layer(x), torch.cat([layer(image[None]) for image in x]), atol=1e-5)


def test_statistics_carry_no_gradient_and_are_kept_in_checkpoints():
    layer = whitening()
    layer(correlated(30).requires_grad_())
    assert not layer.mean.requires_grad and not layer.covariance.requires_grad and not list(layer.parameters())
    assert set(layer.state_dict()) == {"mean", "covariance", "running_epsilon"}


def test_it_computes_in_float32_under_autocast():
    x = correlated(30)
    with torch.autocast("cpu", torch.bfloat16):
        y = whitening()(x)
        half = whitening()(x.bfloat16())
    assert y.dtype == half.dtype == torch.float32
    assert y.numpy() == pytest.approx(zca_by_hand(x), abs=1e-3)


def spd(*values):
    """A matrix with these eigenvalues in random directions, float64."""
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(len(values), len(values))))
    return torch.tensor(rotation @ np.diag(values) @ rotation.T)


MATRICES = {
    "distinct": spd(0.3, 1.0, 2.0, 5.0),
    "two equal": spd(0.5, 2.0, 2.0, 3.0),
    "all equal": spd(0.7, 0.7, 0.7, 0.7),
    "singular plus epsilon": spd(0.1, 0.1, 0.1, 4.1),
    "identity": torch.eye(4, dtype=torch.float64),
    "diagonal": torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0], dtype=torch.float64)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_its_square_inverts_the_matrix(name):
    root = InverseSquareRoot.apply(MATRICES[name])
    assert torch.allclose(root @ root @ MATRICES[name], torch.eye(4, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(root, root.T) and (torch.linalg.eigvalsh(root) > 0).all()


@pytest.mark.parametrize("name", MATRICES)
def test_its_gradient_is_that_of_finite_differences_for_repeated_eigenvalues_too(name):
    """Of the symmetric part, since a perturbation of one entry alone leaves the symmetric matrices."""
    matrix = MATRICES[name].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda m: InverseSquareRoot.apply((m + m.T) / 2), matrix)


def test_its_gradient_at_a_multiple_of_the_identity_by_hand():
    """(4 I + D)^(-1/2) = I / 2 - D / 16 + ..., for every symmetric D."""
    matrix = (4 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    weight = torch.tensor([[1.0, 2.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, -8.0]], dtype=torch.float64)
    (InverseSquareRoot.apply(matrix) * weight).sum().backward()
    assert (-16 * matrix.grad).tolist() == [[1, 3, 0], [3, 0, 0], [0, 0, -8]]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_the_gradient_through_mean_and_covariance_is_that_of_finite_differences(images, training, monkeypatch):
    """In float64, with 5 channels, the last of them constant: a singular covariance for every number of images."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    layer = whitening(5, epsilon=0.1).double().train(training)
    x = correlated(images, 5).double()
    x[:, 4] = 1.0
    assert torch.autograd.gradcheck(layer, x.requires_grad_(), atol=1e-6)
