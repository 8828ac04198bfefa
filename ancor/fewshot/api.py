"""The toolkit from Python: read a dataset, train on it, evaluate; as the scripts do."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ancor.checkpoints import checkpoint
from ancor.data.config import PARTITIONS, PREPROCESSING, DataConfig
from ancor.data.features import FeatureRows
from ancor.data.partition import Partition
from ancor.data.registry import DATASETS
from ancor.data.resolve import VIEWS, without_parts
from ancor.errors import InputError, choose
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.models import Model, read_models
from ancor.evaluation.report import Report, Result
from ancor.evaluation.run import Evaluation
from ancor.fewshot.image_encoder import ImageEncoder, load_encoder
from ancor.runtime.devices import Runtime
from ancor.runtime.from_dict import from_dict
from ancor.runtime.settings import defaults_of, settings_of
from ancor.training.resolve import mode_of, paper_defaults, resolve
from ancor.training.run import Launch, fit, prepare
from ancor.training.run_folder import output_directory
from ancor.training.trainer import Trainer

log = logging.getLogger(__name__)


class Dataset:
    """A dataset; `dataset["test"]` reads a partition when it is first asked for.

    Args:
        config: which dataset, and how a network sees its images.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        self._read: dict[str, Partition] = {}

    def __getitem__(self, partition: str) -> Partition:
        choose("partition", partition, PARTITIONS)
        if partition not in self._read:
            self._read[partition] = self.config.load(partition)
        return self._read[partition]

    def __repr__(self) -> str:
        return f"Dataset({self.config.dataset!r})"


def load_dataset(dataset: str, root: str | Path | None = None, **settings: Any) -> Dataset:
    """Return a dataset, of which nothing is read yet.

    Args:
        dataset: a name of `ancor.data.registry.DATASETS`; `folder` for images of one's own.
        root: folder of its files; None: its own default, where it has one.
        settings: others of `ancor.data.config.DataConfig`.

    Raises:
        InputError: a setting is not known or not accepted.
    """
    _check_names(settings, settings_of(DataConfig))
    given = _as_text({"dataset": dataset, "root": root, **settings})
    return Dataset(from_dict(DataConfig, given, "load_dataset"))


def train(
    data: Dataset | Partition,
    *,
    validation: Partition | None = None,
    output_dir: str | Path | None = None,
    overwrite: bool = False,
    device: str | torch.device = "auto",
    precision: str = "auto",
    quiet: bool = True,
    log: str = "tensorboard",
    **settings: Any,
) -> ImageEncoder:
    """Train an encoder on coarse labels, as train.py does, and return the best one.

    Args:
        data: a dataset, whose train and validation partitions are used; or training images.
        validation: what the best epoch is chosen on where `data` is a partition; None: nothing, and
            the last epoch is the best.
        output_dir: where checkpoints and figures go; None: no file is written.
        overwrite: whether an earlier run there is replaced.
        device: auto, cuda, mps or cpu, or a torch device.
        precision: of training: fp32, bf16, fp16 or auto.
        quiet: whether to show no progress bars.
        log: what shows the figures of `output_dir` beside TensorBoard: wandb or mlflow.
        settings: those of train.py by field, `epochs=2`; mode is the method's, mostly
            `coarse`, if not given; `name` is that of a method.

    Returns:
        The encoder that train.py writes as `model_best`; its passes are in fp32.

    Raises:
        InputError: a setting is not accepted, or the data or the folder will not do.
        RunError: training failed.
    """
    _check_names(settings, paper_defaults())
    settings = _as_text(settings)
    given = {"mode": mode_of(settings.get("name", "ancor")), **settings}
    partition = None
    if isinstance(data, Dataset):
        given = {**without_parts(data.config.given, given), **given}
    else:
        partition = data
        given = {**_of_partition(data, settings), **given}
        if validation is None:
            given["val_episodes"] = 0
    config, _ = resolve(given)
    folder = None
    if output_dir is not None:
        folder = output_directory(str(output_dir), "", overwrite, resume=False)
    runtime = Runtime.named(device, precision, quiet=quiet)
    launch = Launch(folder, runtime, overwrite=overwrite, log=log)
    run = prepare(config, launch, partition=partition, validation=validation)
    runtime = replace(run.launch.runtime, dtype=None)
    if folder is not None:
        fit(run)
        network, content = checkpoint.load_encoder(folder / checkpoint.BEST)
        return ImageEncoder(
            network, config.data.transforms, runtime, content=checkpoint.about(content)
        )
    best = _Best()
    fit(run, best)
    network = run.method.encoder
    network.load_state_dict(best.state)
    content = {"epoch": best.epoch, "config": run.config.plain()}
    return ImageEncoder(network, config.data.transforms, runtime, content=content)


def _of_partition(partition: Partition, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that follow from training images that are read already.

    Raises:
        InputError: there are none, or a setting says which images to read.
    """
    if not isinstance(partition, Partition):
        raise InputError(
            f"data {partition!r:.80}: expected what load_dataset returns, or a Partition"
        )
    defaults = defaults_of(DataConfig)
    read = settings_of(DataConfig).keys() - {"dataset", *PREPROCESSING, *VIEWS}
    for name, value in settings.items():
        if name in read and value != defaults[name]:
            raise InputError(
                f"`{name}` says which images are read, and a partition holds its own; give it to "
                "load_dataset, and images to choose the best epoch on as the argument validation"
            )
    told = {"dataset": partition.dataset if partition.dataset in DATASETS else "folder"}
    if isinstance(partition.images, FeatureRows):
        told["features"] = partition.images.source
    return told


class _Best:
    """Keeps the best encoder's weights in memory; given to `Trainer` as `save`."""

    def __call__(self, trainer: Trainer, best: bool, keep: bool) -> None:
        if best:
            state = trainer.method.encoder.state_dict()
            self.state = {name: tensor.detach().clone() for name, tensor in state.items()}
            self.epoch = trainer.progress.epoch


def evaluate(
    models: str | Path | ImageEncoder | Sequence[str | Path | ImageEncoder],
    partition: Partition | str = "validation",
    *,
    combine: str = "single",
    device: str | torch.device = "auto",
    precision: str = "fp32",
    quiet: bool = True,
    **settings: Any,
) -> list[Result | Report]:
    """Score one or more encoders by few-shot episodes, as eval.py and its like do.

    Args:
        models: encoders, each of which is scored by the features that it encodes to, unless
            `only_base` or `features_out` is given; or files that eval.py reads.
        partition: what episodes are drawn from; or the name of a partition of the dataset that the
            files were trained on. Files see images of another dataset as `dataset` has eval.py
            show them; an encoder shows them as it shows all.
        combine: single, ensemble, concat or cascade.
        device, precision: of models that are read from files.
        quiet: whether to show no progress bars.
        settings: those of `ancor.evaluation.config.EvaluationConfig`: n_shots, n_test_runs, ...;
            `baseline` may be an encoder too.

    Returns:
        Few-way and all-way results for each number of shots, or with `intra_class=True` few-way and
        intra-class ones; `accuracy` and `ci95` of each are in percent. What
        `open_set`, `retrieval` and `clusters` ask for comes last, in this order, a `Report` each.

    Raises:
        InputError: a setting is not accepted, or models and data do not fit together.
    """
    _check_names(settings, settings_of(EvaluationConfig))
    models = (
        list(models) if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    )
    if isinstance(settings.get("n_shots"), int):
        settings["n_shots"] = (settings["n_shots"],)
    against = settings.get("baseline")
    if against is not None:
        settings["baseline"] = str(against)
    encoders = [model for model in models if isinstance(model, ImageEncoder)]
    own = not {"only_base", "features_out"} & settings.keys()
    config = from_dict(EvaluationConfig, settings, "evaluate")
    paths = [str(model) for model in models if not isinstance(model, ImageEncoder)]
    if encoders and isinstance(partition, str):
        raise InputError(
            f"partition {partition!r}: an encoder does not tell its dataset; expected a partition, "
            'as load_dataset("digits")["test"]'
        )
    runtime = Runtime.named(device, precision, quiet=quiet)
    read = []
    if paths:
        read, partition = read_models(paths, {}, partition, runtime, only_base=config.only_base)
    files = iter(read)
    chosen = [
        _model(each, partition, combine, own) if isinstance(each, ImageEncoder) else next(files)
        for each in models
    ]
    baseline = None
    if isinstance(against, ImageEncoder):
        baseline = _model(against, partition, "single", own)
    elif against is not None:
        same = read[0].data.same_images if read else {}
        (baseline,), _ = read_models([str(against)], same, partition, runtime)
    evaluation = Evaluation(chosen, partition, config, combine, baseline)
    return [*evaluation.results(), *evaluation.further().values()]


def embed(
    images: Any,
    encoder: ImageEncoder | str | Path | nn.Module,
    *,
    unit_length: bool = False,
    **settings: Any,
) -> np.ndarray:
    """Compute the features of any images as an array, (N, F) of float32.

    Args:
        images: a list of paths, PIL images, NumPy arrays or tensors, also mixed; one array
            (N, H, W, 3) or tensor (N, 3, H, W); a folder's path; a `Partition`; or a torch dataset.
        encoder: what `load_encoder` returns, or its first argument: a file, `timm:NAME`, a network.
        unit_length: whether each is scaled to length 1; else they are as the network gives them,
            and those of a partition are the first view of `ancor embed`.
        settings: others of `load_encoder`, where the encoder is loaded here: `dataset`, `device`.

    Raises:
        InputError: an image cannot be read, or the encoder cannot be loaded.
    """
    if not isinstance(encoder, ImageEncoder):
        _check_names(settings, load_encoder.__kwdefaults__)
        encoder = load_encoder(encoder, **settings)
    elif settings:
        raise InputError(
            f"settings {', '.join(settings)} were given with an encoder that is loaded; give them "
            "to load_encoder"
        )
    return encoder.encode(images, unit_length=unit_length)


def _model(encoder: ImageEncoder, partition: Partition, combine: str, own: bool) -> Model:
    """Return an encoder as a model of an evaluation; `own`: of the features that it encodes to."""
    content = encoder.content
    if combine == "cascade" and content:
        names = checkpoint.class_names(content, repr(encoder))
        if names and names != partition.hierarchy.coarse_names:
            raise InputError(
                "the encoder was trained on other coarse classes than the partition has; give its "
                "file, whose classes are matched by name"
            )
    kind = encoder.kind if own else None
    return Model(encoder.network, encoder.transforms, encoder.runtime, "", content, kind=kind)


def _as_text(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with text in place of paths."""
    return {name: str(v) if isinstance(v, PathLike) else v for name, v in settings.items()}


def _check_names(settings: dict[str, Any], known: Any) -> None:
    """Raise an InputError where a setting's name is not known."""
    for name in settings:
        choose("setting", name, known)
