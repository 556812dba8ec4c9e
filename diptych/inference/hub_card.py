"""Push a translator to the hub, with a model card that has a licence, metrics with intervals and sample images."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from diptych.errors import ConfigError, nearest, shown
from diptych.inference import hub, model_card
from diptych.inference.model_card import code
from diptych.inference.translator import Translator
from diptych.runs.preview import grid, viewable
from diptych.system.atomic_files import make_folder, write_text

LICENSES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "openrail", "other")
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,63}")
MAX_SIDE = 1024  # pixels of a sample image in the card
MAX_SAMPLES = 16
UNNAMED = "not published"  # a dataset that the user does not name


@dataclass(frozen=True)
class Metric:
    """A score of a protocol (`name/version`) with its 95 % interval, for the model card."""

    protocol: str
    split: str
    name: str
    value: float
    low: float
    high: float
    count: int  # images
    unit: str = ""
    own_data: bool = True  # evaluated on the dataset of the training, not on another one

    @property
    def interval(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}"


def push(
    translator: Translator,
    repository: str,
    *,
    license: str = "",
    private: bool = False,
    revision: str | None = None,
    dataset: str | None = None,
    metrics: Sequence[Metric] = (),
    samples: Sequence[str | Path] = (),
    pictures: Mapping[str, Image.Image] | None = None,
) -> str:
    """Upload a model with its card in one commit and return `user/name@commit`, which `load` takes.

    license: id of the licence of the weights, such as "apache-2.0" or "cc-by-nc-4.0"; required.
    private: create a private repository; an existing public one is refused.
    revision: the branch to write, created if it is missing; default: main.
    dataset: name or hub id of the training dataset, for the card. Without it the card names none.
    samples: image files to translate and to show in the card beside their translations.
    pictures: images for the card by caption.
    No other image is uploaded. Raises ConfigError, ImageError or HubError.
    """
    target = target_of(repository, revision)
    check_license(license)
    with tempfile.TemporaryDirectory(prefix="diptych-") as temporary:
        folder = translator.save(Path(temporary))
        shown_images = {**(pictures or {}), **draw_samples(translator, samples)}
        card = write_card(translator, target, license, dataset, metrics, _save_images(folder, shown_images))
        write_text(folder / "README.md", card)
        commit = hub.upload(folder, target, private, f"{translator.name} trained with Diptych")
    return f"{target.repo}@{commit}"


def target_of(repository: str, revision: str | None = None) -> hub.HubId:
    """Return the repository and branch to push to. Raises ConfigError."""
    target = hub.parse_hub_id(repository)
    if target is None:
        raise ConfigError(f"{shown(repository)}: expected the name of a model repository, user/name")
    if target.revision and revision and target.revision != revision:
        raise ConfigError(f"{repository}: the revision is {target.revision} here and {revision} elsewhere: give one")
    branch = revision or target.revision
    if branch and (hub.parse_hub_id(f"{target.repo}@{branch}") is None or hub.COMMIT.fullmatch(branch)):
        raise ConfigError(f"revision {shown(branch)}: expected the name of a branch; a commit cannot be changed")
    return hub.HubId(target.repo, branch)


def check_license(license: str | None) -> None:
    """Raise ConfigError if there is no licence, or it is no id as the hub has them."""
    if not license:
        raise ConfigError(
            f"the model needs a licence: give one with --license (license= in Python), such as {', '.join(LICENSES)}; "
            f"the licence of the training images may restrict the choice"
        )
    if not LICENSE.fullmatch(license):
        raise ConfigError(
            f"license {shown(license)}: expected an id such as {', '.join(LICENSES[:6])} or other"
            f"{nearest(license.lower(), LICENSES)}"
        )


def write_card(
    translator: Translator,
    target: hub.HubId,
    license: str,
    dataset: str | None = None,
    metrics: Sequence[Metric] = (),
    images: Mapping[str, str] | None = None,
) -> str:
    """Return the model card of a repository as Markdown; `images` are names of files by caption."""
    metadata: dict[str, Any] = {"license": license}
    if dataset and hub.parse_hub_id(dataset):
        metadata["datasets"] = [dataset]
    if metrics:
        metadata["model-index"] = model_index(target.repo.partition("/")[2], metrics, dataset)
    sections = [
        f"Licence of the weights: {code(license)}. Training dataset: {code(dataset) if dataset else UNNAMED}.",
        f'A revision is pinned by `diptych.load("{target.repo}@REVISION")`: a branch, a tag or a commit hash.',
    ]
    if metrics:
        sections += ["## Metrics", _table(metrics)]
    if images:
        sections += ["## Sample images", *(f"![{caption}]({name})" for caption, name in images.items())]
    return model_card.write(
        translator.method,
        translator.name,
        translator.notes,
        translator.images,
        source=str(target),
        metadata=metadata,
        sections="\n" + "\n\n".join(sections) + "\n",
    )


def model_index(name: str, metrics: Sequence[Metric], dataset: str | None = None) -> list[dict[str, Any]]:
    """Return the metrics in the form of the hub's metadata: one result for each protocol, split and dataset."""
    groups: dict[tuple[str, str, bool], list[Metric]] = {}
    for metric in metrics:
        groups.setdefault((metric.protocol, metric.split, metric.own_data), []).append(metric)
    results = []
    for (protocol, split, own_data), members in groups.items():
        data = (dataset or UNNAMED) if own_data else "another dataset"
        results.append(
            {
                "task": {"type": "image-to-image", "name": f"protocol {protocol}"},
                "dataset": {"type": data, "name": data, "split": split},
                "metrics": [
                    {
                        "type": metric.name.rpartition("/")[2],
                        "name": f"{metric.name} (95% interval {metric.interval})",
                        "value": metric.value,
                        "args": {
                            "protocol": protocol,
                            "interval_95": [metric.low, metric.high],
                            "images": metric.count,
                        },
                    }
                    for metric in members
                ],
            }
        )
    return [{"name": name, "results": results}]


def _table(metrics: Sequence[Metric]) -> str:
    head = "| protocol | split | metric | value | 95 % interval | images |\n|---|---|---|---|---|---|"
    rows = [
        f"| {code(each.protocol)} | {code(each.split)}{'' if each.own_data else ' of another dataset'} | "
        f"{code(each.name)} | {f'{each.value:.4g} {each.unit}'.strip()} | {each.interval} | {each.count} |"
        for each in metrics
    ]
    return "\n".join([head, *rows])


def draw_samples(translator: Translator, files: Sequence[str | Path]) -> dict[str, Image.Image]:
    """Return each image beside its translation, with the default controls, by caption. ConfigError, ImageError."""
    if len(files) > MAX_SAMPLES:
        raise ConfigError(f"{len(files)} sample images: at most {MAX_SAMPLES} are shown in a card")
    drawn = {}
    for number, file in enumerate(files, 1):
        controls = translator.prepare_controls({})
        x, (y,) = translator.translate_pixels(translator.read(file), [controls], str(file))
        adapter = translator.adapter(controls)
        source, translation = viewable(x[None], adapter.source_encoding), viewable(y[None], adapter.target_encoding)
        drawn[f"source {number} and its translation"] = grid([source, translation])
    return drawn


def _save_images(folder: Path, images: Mapping[str, Image.Image]) -> dict[str, str]:
    """Write images of bounded size, without metadata and original names, and return the names by caption."""
    names = {}
    make_folder(folder / hub.IMAGES)
    for number, (caption, image) in enumerate(images.items(), 1):
        data, suffix = encoded(image)
        names[caption] = f"{hub.IMAGES}/{number}{suffix}"
        (folder / names[caption]).write_bytes(data)
    return names


def encoded(image: Image.Image) -> tuple[bytes, str]:
    """Return an image of at most 1024 pixels a side as PNG if it has at most 1 MiB, else as JPEG, and the suffix."""
    small = image.convert("RGB")
    small.info = {}  # text and profiles, which would be saved
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    for suffix, options in ((".png", {"optimize": True}), (".jpg", {"quality": 90}), (".jpg", {"quality": 50})):
        buffer = BytesIO()
        small.save(buffer, "PNG" if suffix == ".png" else "JPEG", **options)
        if buffer.tell() <= hub.MAX_IMAGE_BYTES:
            break
    return buffer.getvalue(), suffix
