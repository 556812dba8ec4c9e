"""The checks that every method passes: functions that raise AssertionError with what is wrong, where, and the remedy.

`CHECKS` is the table. Checks of training are in `training_checks.py`. Here are those of the declared data, of inference
and saved files, and of learning.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych.contract import Batch, Evaluator, Method, Route
from diptych.errors import ConfigError, nearest
from diptych.inference.controls import check_controls
from diptych.inference.exported_graph import (
    IMAGE,
    Graph,
    companion_graph,
    generation_graph,
    translation_graph,
)
from diptych.inference.load import build_translator, load
from diptych.inference.receptive_field import reach
from diptych.inference.tile_grid import round_up
from diptych.inference.translator import Translator
from diptych.networks.layers import SMALLEST, evaluating
from diptych.networks.normalisation_statistics import frozen_statistics, pooled_statistics
from diptych.runs import checkpoint
from diptych.settings.validate import checked
from diptych.testing.harness import (
    MethodUnderTest,
    errors_by_route,
    fingerprint,
    routes_and_controls,
    set_global_seeds,
    train,
)
from diptych.testing.training_checks import (
    cuda_graph_replay_is_exact,
    gradient_accumulation_is_exact,
    player_order_depends_on_clock,
    ranks_match_one_process,
    resume_is_exact,
    training_is_deterministic,
    updates_change_only_named_players,
    updates_never_wait_for_device,
)
from diptych.training.engine import Engine

PER_IMAGE_TOLERANCE = 1e-5  # between an image alone and in a batch
EXPORT_TOLERANCE = 1e-4  # between the exported graph and eager mode
PER_TILE_TOLERANCE = 1e-4  # between a part of an image and the whole
MAX_VALIDATION_ERROR = 0.75
LEARN = "raise `checks.learning['steps']` or `checks.tiny['lr']`, or check signs and weights of the loss terms"
EVALUATION = "compute `{name}` under `torch.no_grad()` and in evaluation mode, and restore the modes of the networks"


def batch_entries_match_data_kind(method: MethodUnderTest) -> None:
    """The method declares its kind of data; `batch`, Config, `routes` and `checks` name entries and settings it has."""
    cls = method.cls
    try:
        cls.check_batch()
        for name, changes in vars(cls.checks).items():
            checked(cls.Config, method.settings(**changes), f"`checks.{name}`")
        assert cls.checks.tiny, "`checks` is missing: set it to CheckConfigs(tiny={...}), a config of small networks"
        entries, networks = method.held_out_batch(2), method.engine().method
        for route in networks.routes:
            check_controls(networks.controls, f"`routes`: {cls.__name__}", route.controls)
            for entry in (route.source, route.target):
                assert entry in entries, f"`routes`: no batch entry is called {entry!r}{nearest(entry, entries)}"
    except ConfigError as error:
        raise AssertionError(str(error)) from error


def translate_is_pure(method: MethodUnderTest) -> None:
    """`translate` outputs the right size in [-1, 1], without gradient or side effect; images are independent."""
    engine = _trained(method)
    networks = engine.method
    before, training = fingerprint(engine.state()), networks.training
    for route, controls in routes_and_controls(networks):
        x = method.held_out_batch(3)[route.source]
        x = x if networks.traits.fixed_size else torch.cat([x, x.flip(-1)], -1)  # twice as wide as high
        _check_translation(engine, x, route, controls)
    remedy = EVALUATION.format(name="translate")
    assert fingerprint(engine.state()) == before, f"translate changed weights or buffers: {remedy}"
    assert networks.training == training, f"translate changed the training mode: {remedy}"


def _check_translation(engine: Engine, x: Tensor, route: Route, controls: dict[str, Any]) -> None:
    method = engine.method
    where = f"translate, route {route.source} to {route.target}, {controls}"
    try:
        y = method.translate(x, **controls)
    except TypeError as error:
        problem = "`encode_controls` or `forward` takes each of `controls` as an argument"
        raise AssertionError(f"{where}: {error}: {problem}") from error
    size = [method.traits.upscale_factor * length for length in x.shape[2:]]
    expected = (3, method.channels()[route.target], *size)
    assert y.shape == expected, (
        f"{where}: expected {expected} for {tuple(x.shape)}, got {tuple(y.shape)}: keep height and width, or set "
        f"`traits.upscale_factor`, `traits.size_multiple` or `traits.fixed_size`"
    )
    assert not y.requires_grad, f"{where}: the translation carries a gradient: decorate it with `torch.no_grad()`"
    assert y.isfinite().all(), f"{where}: the translation has values that are not finite: lower `checks.tiny['lr']`"
    assert y.abs().max() <= 1, f"{where}: the translation leaves [-1, 1]: end with tanh, or clamp it"
    assert torch.equal(method.translate(x, **controls), y), (
        f"{where}: two translations of one image differ: use evaluation mode, and no random numbers but those of a "
        f"seed that is a control (`latent_codes`)"
    )
    for index in range(3):
        alone = method.translate(x[index : index + 1], **controls)
        difference = float((alone - y[index : index + 1]).abs().max())
        assert difference < PER_IMAGE_TOLERANCE, (
            f"{where}: image {index} alone differs by {difference:.1e} from the same image in a batch: use evaluation "
            f"mode, and no statistics over the batch"
        )


def forward_is_exportable(method: MethodUnderTest) -> None:
    """`forward` is a graph of tensors for any number of images of any size, and computes what it does in eager mode."""
    networks = method.engine().method
    for graph in _graphs_of(networks):
        try:
            program = graph.program().module()
        except ConfigError as error:
            raise AssertionError(str(error)) from error
        random = torch.Generator().manual_seed(0)
        inputs = {
            name: torch.rand(_other_shape(networks, name, tensor), generator=random) * 2 - 1
            if tensor.is_floating_point()
            else tensor[:2]
            for name, tensor in graph.inputs.items()
        }
        with torch.no_grad(), evaluating(networks):
            difference = float((program(*inputs.values()) - graph(inputs)).abs().max())
        assert difference < EXPORT_TOLERANCE, (
            f"{graph.name}: the exported graph differs by {difference:.1e} from eager mode on images of another size: "
            f"use no Python number that depends on values or sizes of the inputs"
        )


def _graphs_of(networks: Method) -> list[Graph]:
    """Return the graphs of a method on its first route."""
    if networks.routes:
        route = networks.routes[0]
        main = translation_graph(networks, route, {})
        return [main, *(companion_graph(networks, name, route, main.fixed) for name in networks.companions)]
    return [generation_graph(networks)] if networks.latent else []


def _other_shape(networks: Method, name: str, tensor: Tensor) -> tuple[int, ...]:
    """Return a shape other than the one that was exported: two images, and larger ones if their size is free."""
    _, *rest = tensor.shape
    if name == IMAGE and not networks.traits.fixed_size:
        rest[1:] = [rest[1] + networks.traits.size_multiple, rest[1]]
    return (2, *rest)


def tiles_match_image(method: MethodUnderTest) -> None:
    """With frozen statistics, the translation of a part of an image is that part of its translation.

    The part is read with a halo of `receptive_field.reach`. A method whose outputs depend on the entire image, and one
    of fixed size, has no tiles and passes.
    """
    networks = method.engine().method
    traits = networks.traits
    if traits.fixed_size or isinstance(networks, Evaluator):  # evaluators answer with classes, and score whole images
        return
    for route in networks.routes:
        controls, channels = dict(route.controls), networks.channels()[route.source]
        try:
            halo = round_up(max(reach(networks, channels, controls), SMALLEST), traits.size_multiple)
        except ConfigError:
            return
        tile = round_up(SMALLEST, traits.size_multiple)
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(1, channels, 2 * halo + 2 * tile, 2 * halo + 3 * tile, generator=generator) * 2 - 1
        with pooled_statistics() as statistics:
            networks.translate(x, **controls)
        with frozen_statistics(statistics):
            expected = networks.translate(x, **controls)
        with frozen_statistics(statistics):
            y = networks.translate(x[:, :, tile:, 2 * tile :], **controls)
        top, left = (traits.upscale_factor * (halo + skipped) for skipped in (tile, 2 * tile))
        side = traits.upscale_factor * halo
        difference = float((y[:, :, side:, side:] - expected[:, :, top:, left:]).abs().max())
        assert difference < PER_TILE_TOLERANCE, (
            f"translate, route {route.source} to {route.target}: a part of an image, with {halo} pixels around it, "
            f"differs by {difference:.1e} from the same part of the whole translation: outputs must not depend on "
            f"the position in the image, and norms must be functions of torch.nn.functional"
        )


def samples_depend_on_seed_and_number(method: MethodUnderTest) -> None:
    """The image that `sample` generates depends on seed and number alone, is in [-1, 1], and has no side effect."""
    if not method.engine().method.traits.unconditional:
        return
    engine = _trained(method)
    networks = engine.method
    before, training = fingerprint(engine.state()), networks.training
    images = networks.sample(range(4))
    set_global_seeds(1)
    evaluation = EVALUATION.format(name="sample")
    codes = "compute latent codes from seed and number by `latent_codes`"
    assert images.shape[0] == 4, f"sample(range(4)) gives {images.shape[0]} images: generate one for each number"
    assert not images.requires_grad, f"sample: the image carries a gradient: {evaluation}"
    assert images.isfinite().all(), "sample: an image has values that are not finite: lower `checks.tiny['lr']`"
    assert images.abs().max() <= 1, "sample: an image leaves [-1, 1]: end with tanh, or clamp it"
    difference = float((networks.sample(range(2, 3)) - images[2:3]).abs().max())
    assert difference < PER_IMAGE_TOLERANCE, (
        f"sample: image 2 alone differs by {difference:.1e} from image 2 among others: {codes}"
    )
    assert float((networks.sample(range(4), seed=1) - images).abs().max()) > 1e-4, (
        f"sample: seeds 0 and 1 give the same images: {codes}"
    )
    assert float((images[0] - images[1]).abs().max()) > 1e-4, f"sample: numbers 0 and 1 give the same image: {codes}"
    assert fingerprint(engine.state()) == before, f"sample changed weights or buffers: {evaluation}"
    assert networks.training == training, f"sample changed the training mode: {evaluation}"


def saved_files_round_trip(method: MethodUnderTest) -> None:
    """State and config are equal after saving and loading, and a model folder translates as the method does."""
    engine = _trained(method)
    config = engine.method.config
    assert type(config).model_validate_json(config.model_dump_json()) == config, (
        "the config is not equal after JSON: use settings of plain types (numbers, strings, tuples, pydantic models)"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        checkpoint.save(path, engine.state())
        loaded = method.engine(seed=7)
        loaded.load(checkpoint.load(path))
        assert fingerprint(loaded.state()) == fingerprint(engine.state()), (
            "the state is not equal after saving and loading: a buffer must keep its shape and dtype"
        )
        translator = _model_folder(method, engine, Path(folder) / "model")
    for route, controls in routes_and_controls(engine.method):
        x = method.held_out_batch(2)[route.source]
        expected = engine.method.translate(x, **controls)
        problem = f"the loaded model translates differently, route {route.source} to {route.target}, {controls}"
        _check_equal(partial(translator.tensor, x, **controls), expected, problem)
    if engine.method.traits.unconditional:
        samples = engine.method.sample(range(2))
        _check_equal(partial(translator.method.sample, range(2)), samples, "the loaded model samples differently")


def _check_equal(compute: Callable[[], Tensor], expected: Tensor, problem: str) -> None:
    """Raise AssertionError unless a loaded model computes the expected images."""
    reason = ""
    try:
        equal = torch.equal(compute(), expected)
    except Exception as error:  # a network that was not saved is None, and fails in the method's own code
        equal, reason = False, f" ({error})"
    assert equal, (
        f"{problem}{reason}: name every network that inference uses in `inference_networks`, and keep what it needs in "
        f"their weights"
    )


def _model_folder(method: MethodUnderTest, engine: Engine, folder: Path) -> Translator:
    """Save a model folder with the inference networks, and return it loaded."""
    names = method.cls.inference_networks
    state = {name: value for name, value in engine.method.state_dict().items() if name.partition(".")[0] in names}
    config = engine.method.config.model_dump()
    build_translator(method.cls, method.spec, config, state, names, {}, "check").save(folder)
    return load(folder, device="cpu", method=method.cls)


def short_run_learns(method: MethodUnderTest) -> None:
    """With `checks.learning`, held-out translations are closer to the ground truth than the best constant image.

    A method with `validation_errors` is checked by them instead: one source may have several correct translations.
    A method that only samples must approach the mean and standard deviation of the data, pixel by pixel.
    """
    batch = method.held_out_batch(64)
    engine = method.engine(**method.cls.checks.learning)
    for _ in train(engine, method.batches(4, flip=False)):
        pass
    with engine.ema_weights.applied_to(engine.method):
        validation_errors = engine.method.validation_errors(batch)
        for name, error in validation_errors.items():
            assert error < MAX_VALIDATION_ERROR, (
                f"validation error {name} is {error:.2f} after {engine.total} steps, expected below "
                f"{MAX_VALIDATION_ERROR}: {LEARN}"
            )
        if engine.method.traits.unconditional and not engine.method.routes:
            _check_samples_approach(method, engine, next(iter(batch.values())))
    if not validation_errors:
        _check_errors(engine, batch)


def _check_samples_approach(method: MethodUnderTest, engine: Engine, real: Tensor) -> None:
    distance = _statistics_distance(engine.method.sample(range(64)), real)
    untrained = _statistics_distance(method.engine().method.sample(range(64)), real)
    assert distance < 0.5 * untrained, (
        f"mean and standard deviation of samples differ from the data by {distance:.3f} after {engine.total} steps, "
        f"untrained by {untrained:.3f}; expected less than half: {LEARN}"
    )


def _statistics_distance(fake: Tensor, real: Tensor) -> float:
    """Return the mean difference of pixelwise mean and standard deviation between image sets (N, C, H, W)."""
    means = float((fake.mean(0) - real.mean(0)).abs().mean())
    deviations = float((fake.std(0) - real.std(0)).abs().mean())
    return means + deviations


def _check_errors(engine: Engine, batch: Batch) -> None:
    for route, error in errors_by_route(engine, batch).items():
        target = route.target_in(batch, aligned=True)
        assert target is not None
        constant = float((target - target.median(0).values).abs().mean())
        assert error < constant, (
            f"{route.source} to {route.target}: the error after {engine.total} steps is {error:.3f}; the best constant "
            f"image scores {constant:.3f}: {LEARN}"
        )


def _trained(method: MethodUnderTest) -> Engine:
    """Return an engine after a few steps of all stages."""
    engine = method.engine()
    for _ in train(engine, method.batches()):
        pass
    return engine


CHECKS: dict[str, Callable[[MethodUnderTest], None]] = {
    check.__name__: check
    for check in (
        batch_entries_match_data_kind,
        updates_change_only_named_players,
        training_is_deterministic,
        resume_is_exact,
        gradient_accumulation_is_exact,
        ranks_match_one_process,
        translate_is_pure,
        forward_is_exportable,
        tiles_match_image,
        samples_depend_on_seed_and_number,
        saved_files_round_trip,
        player_order_depends_on_clock,
        updates_never_wait_for_device,
        cuda_graph_replay_is_exact,
        short_run_learns,
    )
}
