"""Domain adaptation (Taigman et al. 2017, Table 2): a classifier is trained on translations, and tested on real images.

It has the network and the training settings of the evaluator, whose held-out images it is tested on: the evaluator was
trained on real images of the same domain, so its accuracy is the ceiling. Training images are not augmented.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diptych.contract import Clock
from diptych.data.checks.unreadable import check_images
from diptych.data.dataset import Column
from diptych.data.image_columns import ImageFiles
from diptych.data.images.transforms import Augment, augment_of
from diptych.errors import EvaluationError
from diptych.evaluation.metrics.intervals import Score, score_per_image
from diptych.evaluation.metrics.on_samples import true_classes
from diptych.evaluation.sample_writer import ImageBatches, batch_ranges
from diptych.evaluation.samples import Samples
from diptych.evaluation.tools import Tools
from diptych.evaluators.classifier import Classifier
from diptych.runs.folder import Run
from diptych.settings.recipe import from_settings

SEED = 0  # of the initial weights and of the order of the images


@dataclass(frozen=True)
class RealImages:
    """Held-out real images (N, H, W, C) of the evaluator with their classes (N,), and how it was trained on others."""

    images: Column
    classes: np.ndarray
    transform: Augment
    batch_size: int


def adapted_accuracy(samples: Samples, tools: Tools, names: Sequence[str]) -> Iterator[Score]:
    """Yield the accuracy on held-out real images of a classifier that is trained on the translations.

    Each translation has the label of its source. EvaluationError if the evaluator is not the run of a classifier.
    """
    evaluator = tools.require_evaluator()
    if not isinstance(evaluator, Classifier):
        raise EvaluationError("this protocol needs a classifier of classes as the evaluator, trained by Diptych")
    test = real_images(tools)
    (channels,) = evaluator.channels().values()
    labels = torch.from_numpy(true_classes(samples, evaluator.classes()))
    images = _load(ImageFiles(tuple(samples.files("fake"))), test.transform, channels)
    tools.note(
        f"a classifier is trained on {len(images)} translations ({evaluator.config.steps} steps of {test.batch_size}) "
        f"and tested on {len(test.classes)} real images"
    )
    adapted = train_classifier(evaluator, images, labels, test.batch_size, tools.device)
    real = _load(test.images, test.transform, channels)
    majority = float(np.mean(test.classes == np.bincount(test.classes).argmax()))
    correct, ceiling = (_correct(classifier, real, test.classes, tools.device) for classifier in (adapted, evaluator))
    yield score_per_image(names[0], correct, chance=majority, ceiling=float(ceiling.mean()))


def real_images(tools: Tools) -> RealImages:
    """Return the held-out images of the evaluator's run: its test split, if it has one. EvaluationError."""
    folder = tools.evaluator_folder
    if folder is None or not (folder / "config.yaml").is_file():
        raise EvaluationError(
            "this protocol tests on the held-out images of the evaluator: give the run folder of a classifier, which "
            "names them, by --evaluator"
        )
    run = Run.open(folder)
    recipe = from_settings(run.settings(), where=str(run.config), saved=True)
    data, _ = check_images(recipe.open_data(), recipe.data)
    data = recipe.encode_data(data)
    images, labels = (list((data.test or data.held_out).columns.values())[index] for index in (0, 1))
    return RealImages(images, np.asarray(labels), augment_of(recipe.data), recipe.train.batch_size)


def train_classifier(
    like: Classifier, images: Tensor, labels: Tensor, batch_size: int, device: torch.device
) -> Classifier:
    """Return a new classifier with the config of `like`, trained on images (N, C, H, W) in [-1, 1] and classes (N,)."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        classifier = Classifier(like.config).to(device)
    (stage,) = classifier.stages()
    (player,) = stage.players.values()
    optimizer = torch.optim.Adam(player.parameters(), player.lr, player.betas, weight_decay=player.weight_decay)
    generator = torch.Generator().manual_seed(SEED)
    for step in range(stage.steps):
        clock = Clock(stage.name, step, stage.steps)
        optimizer.param_groups[0]["lr"] = player.lr * player.schedule(clock)
        chosen = torch.randint(len(images), (batch_size,), generator=generator)
        batch = {"image": images[chosen].to(device), "label": labels[chosen].to(device)}
        for _, terms in stage.updates(batch, clock):
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
    return classifier


def _load(column: Column, transform: Augment, channels: int) -> Tensor:
    """Return the images as one tensor (N, channels, H, W) in [-1, 1]."""
    images = ImageBatches(column, transform, channels)
    return torch.cat([images[indices] for indices in batch_ranges(len(images))])


def _correct(classifier: Classifier, images: Tensor, classes: np.ndarray, device: torch.device) -> np.ndarray:
    """Return 1 or 0 (N,) for each image, whether its class is predicted."""
    predicted = torch.cat([classifier.predict(batch.to(device)).cpu() for batch in images.split(256)])
    return (predicted.numpy() == classes).astype(float)
