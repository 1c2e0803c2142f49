"""The plain loop, written the way the papers' public code is, to compare with: nothing in stages/ uses it.

PIL transforms in DataLoader workers, eager fp32, the default memory format, `.item()` in every step.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

from stages.longtail.data.batches import Images


class PlainImages(Dataset):
    """CIFAR as torchvision hands it out: a PIL image through the usual transforms, one at a time."""

    def __init__(self, images: Images, rows: np.ndarray, augmented: bool = True):
        self.images = [to_pil_image(image) for image in images.images[rows]]
        self.labels = images.labels[rows]
        crop_and_flip = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        self.transform = transforms.Compose(
            [
                *(crop_and_flip if augmented else ()),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[position]), int(self.labels[position])


TEST_BATCH = 100  # as the public code of Cao et al. has it


def _as_it_comes() -> None:
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True  # torch's default: on a GPU "fp32" convolutions are TF32


class Epochs:
    """Whole epochs of training, each followed by a test of all test images."""

    def __init__(
        self, model: nn.Module, images: Images, rows: np.ndarray, test: Images, batch_size: int, device: torch.device
    ) -> None:
        """Read the images.

        Args:
            model: taken over.
            images, rows: the training images, and which of them.
            test: the test images.
            batch_size: of the training.
            device: of both.
        """
        self.model, self.device = model.to(device), device
        self.optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
        workers = min(4, os.cpu_count() or 1)
        self.train = DataLoader(PlainImages(images, rows), batch_size, shuffle=True, num_workers=workers)
        every = np.arange(len(test.labels))
        self.test = DataLoader(PlainImages(test, every, augmented=False), TEST_BATCH, num_workers=workers)

    def run(self) -> None:
        """One of them."""
        _as_it_comes()
        self.model.train()
        total, right = 0.0, 0
        for inputs, labels in self.train:
            loss = F.cross_entropy(self.model(inputs.to(self.device)), labels.to(self.device))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.item()
        self.model.eval()
        with torch.no_grad():
            for inputs, labels in self.test:
                predicted = self.model(inputs.to(self.device)).argmax(1)
                right += (predicted == labels.to(self.device)).sum().item()


def speed(
    model: nn.Module, images: Images, rows: np.ndarray, batch_size: int, steps: int, device: torch.device
) -> float:
    """Images per second of `steps` steps, after three to warm up, with torch as it comes."""
    _as_it_comes()
    model = model.to(device).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4)
    loader = DataLoader(PlainImages(images, rows), batch_size, shuffle=True, num_workers=min(4, os.cpu_count() or 1))
    total, began = 0.0, 0.0
    for step, (inputs, labels) in enumerate(loader):
        if step == 3:
            began = time.perf_counter()
        loss = F.cross_entropy(model(inputs.to(device)), labels.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
        if step == steps + 2:
            break
    return steps * batch_size / (time.perf_counter() - began)
