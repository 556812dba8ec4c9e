"""What a setting is beside its type, default and description: metadata of the fields of config classes."""

from dataclasses import dataclass

from pydantic import BaseModel


@dataclass(frozen=True)
class Setting:
    """What a setting is beside its type, default and description: `Annotated[int, Setting(...)]`."""

    symbol: str = ""  # in the paper
    channels_of: tuple[str, ...] = ()  # it is the number of channels of these batch entries, read from the data
    labels_of: tuple[str, ...] = ()  # it holds the `Labels` of these batch entries, read from the data
    follows: str = ""  # it has the value of this other setting
    feature_network: str = ""  # it names a pretrained network, in `Method.perceptual` under this name
    weights_of: str = ""  # it names a file of pretrained weights for this network of the method
    text: bool = False  # its value on the command line is never read as a number, list or mapping
    path: bool = False  # its value may be a path
    free: bool = False  # it may differ when a run is resumed: it does not change results


def setting_of(config: type[BaseModel], name: str) -> Setting:
    """Return the `Setting` of a field of a config class; the default one if the field has none."""
    return next((entry for entry in config.model_fields[name].metadata if isinstance(entry, Setting)), Setting())
