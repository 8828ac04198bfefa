"""The trained encoders that an evaluation scores, read from their files with the data they meet."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ancor.checkpoints import checkpoint
from ancor.checkpoints.classes import check_same_classes, match_classes
from ancor.checkpoints.pretrained import load_encoder, read_backbone, seen_labels
from ancor.data.config import DataConfig
from ancor.data.notes import tell
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.data.resolve import resolve_data, with_dataset
from ancor.data.transform_spec import TransformSpec
from ancor.errors import InputError
from ancor.evaluation.dependencies import dependencies
from ancor.evaluation.feature_bank import FeatureBank
from ancor.evaluation.feature_cache import FeatureCache
from ancor.models.encoder import Encoder
from ancor.models.libraries import check_image_size
from ancor.models.names import OWN_WEIGHTS, library_name, same_weights
from ancor.runtime.devices import Runtime
from ancor.runtime.seeding import seeded

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A trained encoder, and how images are prepared for it.

    Attributes:
        network: the encoder, on the runtime's device, with the coarse classes of the data.
        transforms: what it sees of an image.
        runtime: where and how its passes run.
        path: its file; empty where it comes from none.
        content: epoch and configuration of its checkpoint; empty likewise.
        cache: folder that features are kept in; None: nowhere.
        data: where its data are, those it was trained on among them; None: not known.
        saved: the encoder with the classes of its file, which a file can hold; None: `network`.
        kind: which of its outputs is scored (`ancor.evaluation.feature_bank.KINDS`); None: as the
            evaluation says.
    """

    network: Encoder
    transforms: TransformSpec
    runtime: Runtime
    path: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    cache: Path | None = None
    data: DataConfig | None = None
    saved: Encoder | None = None
    kind: str | None = None

    def bank(
        self,
        partition: Partition,
        kind: str = "features",
        seed: int = 0,
        transforms: TransformSpec | None = None,
    ) -> FeatureBank:
        """Return a bank of its features of a partition; `transforms` may differ from its own."""
        transforms = transforms or self.transforms
        bank = FeatureBank(self.network, partition.images, transforms, self.runtime, seed, kind)
        if self.cache is not None:
            bank.cache = FeatureCache(self.cache, dependencies(bank, partition), bank.width)
        return bank

    def untrained(self) -> "Model":
        """Return the model that the training of this one started from.

        Raises:
            InputError: its weights cannot be read, or the file does not tell where they are.
        """
        config = self.content.get("config") or {}
        training = config.get("training") or {}
        pretrained = training.get("pretrained") or training.get("init_from")
        if not isinstance(pretrained, str | None):
            raise InputError(f"the file's `pretrained` {pretrained!r:.80}: expected a text")
        if config.get("pretrained_on") and not pretrained:
            name = library_name(self.network.config.arch, OWN_WEIGHTS)
            raise InputError(
                f"`untrained`: {self.path!r} started from {config['pretrained_on']!r:.200} and "
                f"does not tell where that is; give it as `baseline` {name and f'{name}='}FILE"
            )
        with seeded(training.get("seed", 0), "weights"):
            network = Encoder(self.network.config)
        if pretrained:
            start = read_backbone(self.network.config.arch, pretrained).backbone
            network.backbone.load_state_dict(start.state_dict())
        network = _on_device(network, self.runtime)
        return Model(network, self.transforms, self.runtime, cache=self.cache, data=self.data)


def _on_device(network: Encoder, runtime: Runtime) -> Encoder:
    return network.to(runtime.device, memory_format=torch.channels_last)


def read_models(
    paths: Sequence[str],
    data: Mapping[str, Any],
    partition: str | Partition,
    runtime: Runtime,
    *,
    only_base: bool | None = None,
    cache: Path | None = None,
    expected: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[list[Model], Partition]:
    """Read models and the data that they are evaluated on.

    Args:
        paths: files that `ancor.checkpoints.pretrained.load_encoder` reads.
        data: settings of `DataConfig` that go before those in the files.
        partition: name of the one that is evaluated, or itself, which names the dataset where
            `data` names none.
        runtime: where and how passes run.
        only_base: False: the head's embedding is used too, and has to be as expected.
        cache: folder that features are kept in; None: nowhere.
        expected: what encoders have to be (`arch`, `head`, `dim`), one value for all or one a file.

    Raises:
        InputError: a file or the data cannot be read, or they do not fit together.
    """
    expected = {name: _for_each(name, list(v), paths) for name, v in (expected or {}).items()}
    heads = expected.get("head", [None] * len(paths))
    loaded = [load_encoder(p, head) for p, head in zip(paths, heads, strict=True)]
    for number, (path, (encoder, _)) in enumerate(zip(paths, loaded, strict=True)):
        given = {name: values[number] for name, values in expected.items()}
        _check_agreement(given, path, encoder, only_base is not False)
    _check_alike(paths, loaded)
    check_same_classes(paths, [content for _, content in loaded])
    trained_on = [content["config"]["data"] for _, content in loaded]
    named = isinstance(partition, str)
    if named:
        data = with_dataset(data, trained_on[0])  # told once, whatever the files
    configs = [resolve_data(_met(data, told, partition), told) for told in trained_on]
    if named:
        read, told = (
            configs[0].features or configs[0].root,
            data.get("features") or data.get("root"),
        )
        if told is None and read is not None:
            log.info("Images are read from %r, as %r says", read, paths[0])
        partition = configs[0].load(partition)
        tell(partition)
    matched = []
    for path, (encoder, content) in zip(paths, loaded, strict=True):
        if content["config"].get("pretrained_on"):
            for line in seen_labels(str(content["config"]["pretrained_on"]), partition.dataset):
                log.info("%s", line)
        matched.append(match_classes(path, encoder, content, partition))
    for (encoder, _), config in zip(loaded, configs, strict=True):
        check_image_size(encoder.config.arch, config.transforms.size)
    abouts = [checkpoint.about(content) for _, content in loaded]
    models = [
        Model(
            _on_device(network, runtime),
            *(config.transforms, runtime, path, told, cache, config),
            _on_device(encoder, runtime),
        )
        for network, path, (encoder, _), told, config in zip(
            matched, paths, loaded, abouts, configs, strict=True
        )
    ]
    if named:
        tell_training(models, partition)
    return models, partition


def _met(
    data: Mapping[str, Any], told: Mapping[str, Any] | None, partition: str | Partition
) -> Mapping[str, Any]:
    """Return what was given, and the dataset of a partition where the file tells another, or none.

    A partition of a name that no dataset has is the file's, or a `folder`.
    """
    if isinstance(partition, str) or data.get("dataset") is not None:
        return data
    theirs = (told or {}).get("dataset")
    dataset = partition.dataset if partition.dataset in DATASETS else theirs or "folder"
    same = dataset == theirs and data.get("root") is None
    return data if same else {**data, "dataset": dataset}


def read_one(
    source: str,
    data: Mapping[str, Any],
    runtime: Runtime,
    expected: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Model, DataConfig]:
    """Read a model whose backbone is used, and resolve which data it meets; nothing is read of it.

    Args:
        source: a file, or a library's backbone.
        data: settings of `DataConfig` that go before those in the file.
        runtime: where and how passes run.
        expected: what the encoder has to be, as in `read_models`.

    Raises:
        InputError: it cannot be read, is another, or cannot pass images of that size.
    """
    given = {name: value for name, (value,) in (expected or {}).items()}
    encoder, content = load_encoder(source, given.get("head"))
    _check_agreement(given, source, encoder, only_base=True)
    config = resolve_data(data, content["config"]["data"])
    check_image_size(encoder.config.arch, config.transforms.size)
    network = _on_device(encoder, runtime)
    told = checkpoint.about(content)
    model = Model(network, config.transforms, runtime, source, told, data=config)
    for line in seen_labels(str(content["config"].get("pretrained_on") or ""), config.dataset):
        log.info("%s", line)
    return model, config


def tell_training(models: Sequence[Model], partition: Partition) -> None:
    """Log a notice for each model whose training or choice has seen what it now meets."""
    for model in models:
        told, same = model.content["config"], model.data.spec.same
        images = same if partition.name in same and not model.data.shares else (partition.name,)
        trained_on = (told["data"] or {}).get("dataset")
        if trained_on == partition.dataset and told.get("selected_on") in images:
            advice = "`partition` test is fair, where the dataset has one"
            if len(images) > 1:
                advice = f"{' and '.join(images)} are one: choose by a `val_fraction` of training"
            log.info(
                "Notice: the encoder of %r was chosen on the images of partition %r that are now "
                "evaluated, which flatters it; %s",
                *(model.path, partition.name, advice),
            )
    if partition.name in models[0].data.shares:
        _tell_other_shares(models)


def _tell_other_shares(models: Sequence[Model]) -> None:
    """Log a notice for each encoder whose training images are not those that the shares leave."""
    try:
        train = models[0].data.load("train")
    except InputError:  # of a partition in memory, whose shares nobody asked for
        return
    for model in models:
        told = model.content["config"]
        mode = (told.get("training") or {}).get("mode")
        if told.get("fingerprint") and told["fingerprint"] != train.fingerprint(mode or "coarse"):
            log.info(
                "Notice: %r was trained on other images than the shares leave to train now, which "
                "may be among those evaluated; `labels` with the table in its run's folder, "
                "labels.csv, has its own partitions",
                model.path,
            )


def _for_each(name: str, values: list, paths: Sequence[str]) -> list:
    """Spread one value over the files; of several there is one for each."""
    if len(values) not in (1, len(paths)):
        raise InputError(
            f"`{name}` {' '.join(map(str, values))}: {len(values)} values for {len(paths)} files; "
            "give one for each, or one for all"
        )
    return values * len(paths) if len(values) == 1 else values


def _check_agreement(
    given: Mapping[str, Any], path: str, encoder: Encoder, only_base: bool
) -> None:
    """Raise an InputError where an encoder is not as expected; what backbones lack is passed by."""
    for name, value in given.items():
        found = getattr(encoder.config, name)
        if value is None or same_weights(value, found):
            continue
        if only_base and name != "arch":
            log.info(
                "Notice: `%s` %s given, %s in the file; backbone features use neither",
                name,
                value,
                found,
            )
            continue
        raise InputError(f"`{name}` {value} was given and {path!r} holds {found}; leave it out")


def _check_alike(paths: Sequence[str], loaded: Sequence[tuple[Encoder, Mapping[str, Any]]]) -> None:
    """Raise an InputError where files tell that they were trained on different data or classes."""
    known = []
    for encoder, content in loaded:
        data = content["config"]["data"] or {}
        about = {"dataset": data.get("dataset"), "split": data.get("split")}
        classes = None if encoder.class_weight is None else encoder.config.num_classes
        known.append({**about, "number of classes": classes})
    for path, other in zip(paths[1:], known[1:], strict=True):
        for name, value in other.items():
            if None not in (value, known[0][name]) and value != known[0][name]:
                raise InputError(
                    f"the {name} is {known[0][name]!r} in {paths[0]!r} and {value!r} in {path!r}; "
                    "give models that were trained on the same data and labels"
                )
