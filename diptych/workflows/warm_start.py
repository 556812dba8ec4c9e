"""Initial weights from another run or model, `init_from=`, and from files that settings name for single networks."""

from collections.abc import Sequence

from diptych.contract import Method
from diptych.errors import CheckpointError, ConfigError
from diptych.importers import pretrained
from diptych.inference.load import networks_of, state_mismatches, with_prefix


def initialise_from(method: Method, source: str | None, chosen: Sequence[str] = ()) -> str:
    """Load the networks of a run or model into those of `method` that have the same name and shapes.

    `chosen` are the names of the networks to load, which must fit; all that fit by default.

    Networks whose weights the settings give as a file are loaded from there. Returns a sentence about the source;
    empty if there is none. Raises CheckpointError if the source cannot be read, ConfigError if no network fits, if a
    file is not of its network, or if a network that `translate` runs is neither loaded nor trained.
    """
    loaded, skipped = _load_networks(method, source, chosen) if source else ([], [])
    if missing := [name for name in chosen if name not in loaded]:
        reason = "; ".join(skipped) or "init_from is not set"
        raise ConfigError(f"init_networks={list(chosen)}: {missing[0]} cannot be loaded from {source}: {reason}")
    given = pretrained.load_networks(method)
    untrained = [name for name in method.untrained_networks(method.stages()) if name not in (*loaded, *given)]
    if untrained:
        zero_settings = [f"{key}=" for key, value in vars(method.config).items() if type(value) is int and not value]
        raise ConfigError(
            f"no step trains {', '.join(untrained)}: load it from a run of the same settings by init_from=, or set "
            f"{' or '.join(zero_settings) or 'steps='} above 0"
        )
    if not source:
        return ""
    message = f"initialised from {source}: {', '.join(loaded)}"
    return f"{message}; randomly initialised: {'; '.join(skipped)}" if skipped else message


def _load_networks(method: Method, source: str, chosen: Sequence[str]) -> tuple[list[str], list[str]]:
    """Load the networks that fit; return their names, and the names of the others with the reason."""
    loaded: list[str] = []
    skipped: list[str] = []
    try:
        tensors = networks_of(source)
    except CheckpointError as error:
        raise CheckpointError(f"init_from={error}") from error
    for name, net in method.named_children():
        alias = method.network_aliases.get(name, name)
        weights = with_prefix(tensors, f"{name}.") or with_prefix(tensors, f"{alias}.")
        if chosen and name not in chosen:
            skipped.append(f"{name} (not in init_networks)")
        elif not weights:
            skipped.append(f"{name} (not in the source)")
        elif differences := state_mismatches(net.state_dict(), weights):
            skipped.append(f"{name} ({differences[0]})")
        else:
            net.load_state_dict(weights)
            loaded.append(name)
    if not loaded:
        raise ConfigError(
            f"init_from={source}: none of its networks has the name and shapes of one here: {'; '.join(skipped)}; "
            f"use the settings of that run"
        )
    return loaded, skipped
