"""An evaluation from models to results: eval, ensemble, concat and cascade differ in one function.

Read it in this order: `plan` draws all episodes from labels alone and lists the (image, view) pairs
that they need; `feature_bank` passes each pair through a network once (`feature_cache` keeps it on
disk); `feature_store` holds features in bounded memory; `predictors` turn the features of episodes
into labels, by `classifiers`; `scoring` drives them; `report` says the results.
"""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

import ancor
from ancor.checkpoints.checkpoint import sha256
from ancor.checkpoints.pretrained import weights_file
from ancor.data.episodes import ALL_WAYS, EpisodeSampler, Protocol
from ancor.data.partition import Partition
from ancor.data.transform_spec import TransformSpec
from ancor.errors import InputError, choose
from ancor.evaluation import open_set, predictors, retrieval
from ancor.evaluation.centering import CenteredBank, training_mean
from ancor.evaluation.clusters import check_partition, cluster_report
from ancor.evaluation.config import EvaluationConfig
from ancor.evaluation.feature_bank import FeatureBank, features_name, kind_of
from ancor.evaluation.models import Model, tell_training
from ancor.evaluation.plan import Plan, plan_evaluations
from ancor.evaluation.predictors import Predictor
from ancor.evaluation.rejection import OpenSet, Rejection, rejections
from ancor.evaluation.report import Report, Result, confusion, episodes_hash, errors_in_coarse
from ancor.evaluation.scoring import Scored, coarse_accuracies, measure_episodes, score
from ancor.runtime.settings import with_flags

# For each way of combining models, how few and how many it takes.
COUNTS = {"single": (1, 1), "ensemble": (2, 100), "concat": (2, 100), "cascade": (2, 2)}


def check_count(combine: str, count: int) -> None:
    """Raise an InputError where too few or too many models are given to be combined."""
    least, most = COUNTS[choose("combine", combine, COUNTS)]
    if not least <= count <= most:
        needed = f"at least {least}"
        if least == most:
            needed = f"exactly {least}" + (": the coarse model first" if least == 2 else "")
        raise InputError(f"`model_path`: {count} given, and {combine} takes {needed}")


class Evaluation:
    """One or more models, and the episodes that they are scored by.

    Args:
        models: that are combined, in order.
        partition: what episodes are drawn from.
        config: of episodes and classifier.
        combine: a name of `COUNTS`.
        baseline: the model that the configuration names as such.

    Attributes:
        plan: the episodes; its `notes` tell of classes that they leave out.
        open_plan: the protocols of open-set episodes and their plan, if they are asked for.

    Raises:
        InputError: the models do not suit, or the partition holds too few images or classes.
    """

    def __init__(
        self,
        models: Sequence[Model],
        partition: Partition,
        config: EvaluationConfig,
        combine: str = "single",
        baseline: Model | None = None,
    ) -> None:
        check_count(combine, len(models))
        lone = ["untrained", "open_set", "retrieval", "clusters"]
        lone += ["baseline"] if combine == "cascade" else []  # which asks its two models in turn
        for name in lone:
            if getattr(config, name) and combine != "single":
                raise InputError(f"`{name}` is of one model, and {combine} takes several")
        if config.clusters:
            check_partition(partition)  # before anything is passed
        self.models, self.partition, self.config = models, partition, config
        self._transforms = _shared_transforms([*models, *([baseline] if baseline else [])])
        self.combine, self.predict = combine, _predictor(combine, config)
        self.protocols = _protocols(config)
        asked = config.only_base, config.features_out
        kinds = [m.kind or kind_of(m.network, m.content, *asked) for m in models]
        if combine == "cascade":
            _check_coarse(models[0], partition)
            kinds[0] = "predicted class"
        self.plan = self._plan(
            EpisodeSampler.of(partition, config.mode), [protocol for _, protocol in self.protocols]
        )
        self.open_plan = self._plan_open_set() if config.open_set else None
        self.banks = [self._bank(m, kind) for m, kind in zip(models, kinds, strict=True)]
        if baseline is not None and baseline.path:
            tell_training([baseline], partition)
        if config.untrained:
            baseline = models[0].untrained()
        self._against = baseline
        self.baseline = []
        if baseline is not None:
            # Beside the backbone's features a head that was only drawn adds nothing.
            same = baseline.network.config.embeds and not (config.untrained and kinds[0] == "both")
            kind = baseline.kind or (kinds[0] if same else "features")
            self.baseline = [self._bank(baseline, kind)]

    def _bank(self, model: Model, kind: str) -> FeatureBank | CenteredBank:
        bank = model.bank(self.partition, kind, self.config.seed)
        if not self.config.center or kind == "predicted class":
            return bank
        return CenteredBank(bank, training_mean(model, kind))

    def results(self) -> Iterator[Result]:
        """Score one protocol after the other."""
        quiet = self.models[0].runtime.quiet
        baselines = score(self.plan, self.baseline, self.predict, quiet) if self.baseline else None
        for which, scored in enumerate(score(self.plan, self.banks, self.predict, quiet)):
            yield self._result(which, scored, next(baselines) if baselines else None)

    def _result(self, which: int, scored: Scored, base: Scored | None) -> Result:
        mode, protocol = self.protocols[which]
        hierarchy, level = self.partition.hierarchy, self.config.mode
        counts = confusion(self.plan, which, scored.predictions, len(hierarchy.names(level)))
        within = coarse = None
        several = len(np.unique(self.partition.coarse_labels)) > 1  # else each answer is right
        if level == "fine" and several and not protocol.intra_class:
            coarse_of = np.array(hierarchy.coarse_of_fine)
            within = errors_in_coarse(counts, coarse_of)
            coarse = coarse_accuracies(self.plan.episodes[which], scored.predictions, coarse_of)
        return Result(
            mode,
            protocol,
            self.plan.ways(which),
            self.plan.queries(which),
            self.config.classifier,
            scored.accuracies,
            base.accuracies if base else None,
            self.config.baseline,
            scored.seconds + (base.seconds if base else 0),
            counts,
            within,
            coarse,
            scored.calibration,
        )

    def further(self) -> dict[str, Report]:
        """Make the reports beside episodes' accuracies that are asked for, by setting."""
        config, partition, found = self.config, self.partition, {}
        if config.open_set:
            found["open_set"] = OpenSet(self._rejections(), config.classifier)
        if config.retrieval or config.clusters:
            features = self.banks[0].test_features()
        if config.retrieval:
            own, *others = [
                retrieval.of_partition(each.to(self.banks[0].device), partition, config.mode)
                for each in (features, *(bank.test_features() for bank in self.baseline))
            ]
            found["retrieval"] = replace(
                own, baseline=next(iter(others), None), baseline_name=config.baseline
            )
        if config.clusters:
            found["clusters"] = cluster_report(features, partition, config.seed)
        return found

    def _rejections(self) -> list[Rejection]:
        """Score how well unknown classes are told from known ones, in episodes of their own."""
        asked, plan = self.open_plan
        measure = partial(open_set.measure, self.predict, self.config.classifier)
        episodes = measure_episodes(plan, self.banks, measure, self.models[0].runtime.quiet)
        return [
            found
            for which, rows in enumerate(episodes)
            for found in rejections(
                asked[which], plan.ways(which), np.stack([own for (own,) in rows])
            )
        ]

    def _plan_open_set(self) -> tuple[list[Protocol], Plan]:
        """Return the protocols of open-set episodes, and their plan."""
        ordinary = EpisodeSampler.of(self.partition, self.config.mode)
        asked = open_set.protocols([protocol for _, protocol in self.protocols], ordinary)
        fine = self.config.mode == "fine"
        coarse_of = np.array(self.partition.hierarchy.coarse_of_fine) if fine else None
        return asked, self._plan(open_set.OpenSetSampler(ordinary, coarse_of), asked)

    def _plan(self, sampler: EpisodeSampler, protocols: list[Protocol]) -> Plan:
        config = self.config
        return plan_evaluations(
            sampler,
            protocols,
            config.n_test_runs,
            config.support_views,
            config.seed,
            self._transforms,
        )

    def about(self, script: str) -> dict[str, Any]:
        """Collect what the results depend on, in plain values; `script` computes them."""
        models, named = [_told(model) for model in self.models], self.config.baseline is not None
        return {
            "script": script,
            **({"checkpoint": models[0]} if len(models) == 1 else {"checkpoints": models}),
            **({"baseline": _told(self._against)} if named else {}),
            **({"average": self.config.average} if self.combine == "ensemble" else {}),
            "dataset": self.partition.dataset,
            "partition": self.partition.name,
            "classes": self.config.mode,
            "only_base": self.config.only_base is not False,
            "features_out": [features_name(bank.kind) for bank in self.banks],
            "C": self.config.C,
            "center": self.config.center,
            "support_views": self.config.support_views,
            "seed": self.config.seed,
            "precision": self.models[0].runtime.precision,
            "episodes_sha256": episodes_hash(self.plan),
            "notes": [with_flags(line) for line in self.plan.notes],
            "versions": {
                "ancor": ancor.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }


def _told(model: Model) -> dict[str, Any]:
    """Return which file a model is, in plain values."""
    config = model.content["config"]
    return {
        "path": model.path,
        "sha256": sha256(weights_file(model.path)),
        "epoch": model.content["epoch"],
        "selected_on": config.get("selected_on"),
        "pretrained_on": config.get("pretrained_on") or None,
    }


def _shared_transforms(models: Sequence[Model]) -> TransformSpec | None:
    """Return the transforms by which views of all models show the same; None: they differ."""
    first = models[0].transforms
    flips = first.support_only_flips, first.flip
    specs = (model.transforms for model in models)
    alike = all((spec.support_only_flips, spec.flip) == flips for spec in specs)
    return first if alike else None


def _predictor(combine: str, config: EvaluationConfig) -> Predictor:
    if combine == "ensemble":
        return predictors.ensemble(config.classifier, config.average, config.C)
    return getattr(predictors, combine)(config.classifier, config.C)


def _protocols(config: EvaluationConfig) -> list[tuple[str, Protocol]]:
    """List (mode, protocol) of all evaluations: few-way, and all-way or inside a coarse class."""
    second = ("Fine-Grained", config.n_ways) if config.intra_class else ("All-Way", ALL_WAYS)
    return [
        (
            mode,
            Protocol(
                ways,
                shots,
                config.n_queries,
                config.n_augmentations,
                mode == "Fine-Grained",
                config.equal_queries,
            ),
        )
        for shots in config.n_shots
        for mode, ways in (("N-Way", config.n_ways), second)
    ]


def _check_coarse(model: Model, partition: Partition) -> None:
    """Raise an InputError where a model cannot tell the coarse classes of a partition."""
    weight, coarse = model.network.class_weight, partition.hierarchy.num_coarse
    if weight is None or len(weight) != coarse:
        count = 0 if weight is None else len(weight)
        have = "no classifier" if weight is None else f"a classifier of {count or 'other'} classes"
        raise InputError(
            f"{model.path!r} has {have} (head {model.network.config.head!r}), and the first model "
            f"of a cascade tells the {coarse} coarse classes of {partition.dataset!r}; give a file "
            "trained with `mode` coarse and `head` seq, fork or cls"
        )
