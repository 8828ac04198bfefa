"""Names of backbones: the project's own, and those of two libraries."""

from collections.abc import Sequence

from ancor.errors import InputError

OWN_WEIGHTS = "default"  # stands for the weights that a backbone's library publishes
LIBRARIES = ("timm", "torchvision")
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
HUB = "hf-hub:"  # what the names of encoders that were pushed to the Hugging Face hub begin with
SMALL = "forcifar"  # what the names of ResNets for images of 32 pixels end with


def library_of(name: str) -> tuple[str, str]:
    """Split `timm:NAME` into the library and the name there; the library of other names is ''."""
    library, _, rest = name.partition(":")
    return (library, rest) if rest and library in LIBRARIES else ("", name)


def library_name(name: str, pretrained: str | None) -> str:
    """Return the backbone of a library whose preprocessing goes with a backbone; '': none does.

    Args:
        name: the backbone's.
        pretrained: the weights that it starts from.
    """
    if library_of(name)[0]:
        return name
    plain = name.removesuffix(SMALL)
    return f"torchvision:{plain}" if plain in RESNETS and pretrained == OWN_WEIGHTS else ""


def sources(
    paths: Sequence[str] | None, archs: Sequence[str] | None, pretrained: str | None
) -> list[str]:
    """Return what is named as encoders: files, `timm:NAME` or `torchvision:NAME`, or with `=FILE`.

    Args:
        paths: such names; None: backbones are named.
        archs: names of backbones.
        pretrained: `OWN_WEIGHTS`, or a file with their weights.

    Raises:
        InputError: both are given, or too little.
    """
    if paths and pretrained is None:
        return list(paths)
    if paths:
        raise InputError("`pretrained` is of `arch`, in place of `model_path`; give one of them")
    if not archs or pretrained is None:
        raise InputError("`model_path` is needed; or `arch` timm:NAME with `pretrained`")
    names = [library_name(name, OWN_WEIGHTS) for name in archs]
    if "" in names:
        shown = " ".join(archs)
        raise InputError(f"`arch` {shown}: expected timm:NAME or torchvision:NAME, with weights")
    return names if pretrained == OWN_WEIGHTS else [f"{name}={pretrained}" for name in names]


def file_name(source: str) -> str:
    """Return what files made of a named encoder are called; '': it is a file itself."""
    library, name = library_of(source)
    if source.startswith(HUB):
        library, name = HUB[:-1], source.removeprefix(HUB).replace("/", "-")
    return f"{library}-{name.partition('=')[0]}" if library else ""


def same_weights(one: str, other: str) -> bool:
    """Return whether two backbones differ in nothing but regularization while training."""
    twins = {"resnet12forcifar": "resnet12"}
    twins |= {f"torchvision:{name}": name for name in RESNETS}
    return twins.get(one, one) == twins.get(other, other)
