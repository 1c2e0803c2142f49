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

    def __init__(self, images: Images, rows: np.ndarray):
        self.images = [to_pil_image(image) for image in images.images[rows]]
        self.labels = images.labels[rows]
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(images.mean, images.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[position]), int(self.labels[position])


def speed(
    model: nn.Module, images: Images, rows: np.ndarray, batch_size: int, steps: int, device: torch.device
) -> float:
    """Images per second of `steps` steps, after three to warm up, with torch as it comes."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = True  # torch's default: on a GPU "fp32" convolutions are TF32
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
