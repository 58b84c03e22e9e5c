"""Real data that ships inside scikit-learn, split once and for all; and made-up data, named so.

Gives numpy arrays in raw units; nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

Floats = npt.NDArray[np.float32]

SPLIT_SEED = 20261124


@dataclass(frozen=True, slots=True)
class Split:
    """Training and held-out samples, raw, [N, …]; targets are labels (int64) or values (float32, [N, outputs])."""

    train: Floats
    train_targets: npt.NDArray[np.generic]
    held_out: Floats
    held_out_targets: npt.NDArray[np.generic]


def digits(size: int, held_out: float = 0.3) -> Split:
    """The 1,797 handwritten digits of `load_digits` (UCI, CC BY 4.0), 0..16 grey, resized bilinearly to `size`."""
    loaded = load_digits()
    images = resize(loaded.images, size).astype(np.float32)
    return _split(images[:, None], loaded.target.astype(np.int64), held_out)


def breast_cancer() -> Split:
    """The 569 cases of `load_breast_cancer` (UCI Wisconsin Diagnostic, CC BY 4.0), 30 features each."""
    loaded = load_breast_cancer()
    return _split(loaded.data.astype(np.float32), loaded.target.astype(np.int64), 0.3)


def habits() -> Split:
    """SYNTHETIC: 4,096 made-up people; three habits from 0 to 10 give a height in cm and a weight in kg."""
    rng = np.random.default_rng(SPLIT_SEED)
    raw = rng.uniform(0, 10, size=(4096, 3)).round(1)
    eating, sleep, training = raw.T
    height = 168 + 0.9 * sleep + 0.3 * eating + rng.normal(0, 1.0, len(raw))
    weight = (
        62
        + 2.4 * eating
        - 1.6 * training
        + 0.12 * eating * (10 - training)
        - 0.4 * sleep
        + rng.normal(0, 1.0, len(raw))
    )
    return _split(raw.astype(np.float32), np.stack([height, weight], axis=1).astype(np.float32), 0.125)


def resize(images: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.uint8]:
    """[N, h, w] to [N, size, size], bilinear with aligned corners, rounded to whole grey levels."""
    if images.shape[1] == size:
        return images.astype(np.uint8)
    position = np.linspace(0, images.shape[1] - 1, size)
    low = np.minimum(position.astype(int), images.shape[1] - 2)
    weight = position - low
    rows = images[:, low] * (1 - weight)[:, None] + images[:, low + 1] * weight[:, None]
    both = rows[:, :, low] * (1 - weight) + rows[:, :, low + 1] * weight
    rounded: npt.NDArray[np.uint8] = np.floor(both + 0.5).astype(np.uint8)
    return rounded


def _split(samples: Floats, targets: npt.NDArray[np.generic], held_out: float) -> Split:
    stratify = targets if targets.dtype == np.int64 else None
    train, test, train_targets, test_targets = train_test_split(
        samples, targets, test_size=held_out, random_state=SPLIT_SEED, stratify=stratify
    )
    return Split(train, train_targets, test, test_targets)
