"""Settings that were given for a run and mean nothing beside its others."""

from collections.abc import Collection, Iterator

from ancor.methods.config import AncorConfig
from ancor.training.config import RunConfig

# Of ANCOR's settings, those that only losses with keys heed.
OF_KEYS = (
    *("queue_length", "queue_dtype", "drop_unfilled"),
    *("temperature", "encoder_momentum", "metric"),
)


def unused(config: RunConfig, given: Collection[str]) -> Iterator[str]:
    """Yield a line on settings that were given without effect; what is not given is not told.

    Args:
        config: the run's settings.
        given: names of those that were given.
    """
    for names, why in _meaningless(config):
        if found := [f"`{name}`" for name in names if name in given]:
            yield f"Notice: {', '.join(found)} given without effect, as {why}"
    for name in ("keep_epochs",) if config.training.cos else ("schedule", "keep_epochs"):
        late = [str(n) for n in getattr(config.training, name) if n >= config.training.epochs]
        if late and name in given:
            last = config.training.epochs - 1
            yield f"Notice: `{name}` {' '.join(late)} without effect, as epochs are 0 to {last}"


def _meaningless(config: RunConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield names of settings that a run does not heed, and why."""
    training, method, head = config.training, config.method, config.encoder.head
    one_cosine = training.cos and training.rates == "supcontrast"
    if training.cos:
        of_steps = ("schedule",) if one_cosine else ("schedule", "gamma")
        yield of_steps, "the rate follows a cosine (`cos`)"
    if one_cosine:
        yield ("num_cycles",), "`rates` supcontrast has one cosine"
    elif not training.cos:
        yield ("num_cycles",), "the rate falls in steps; `cos` has cycles"
    if training.frozen(training.epochs - 1) == "all":
        yield ("layer_decay", "backbone_lr_scale"), "the whole backbone is frozen"
    if not config.encoder.embeds:
        yield ("dim",), f"`head` {head} makes no embedding"
    if type(method) is AncorConfig:
        if not method.contrastive:
            yield OF_KEYS, "no loss compares embeddings with keys (`calculators` cls)"
        elif not any(name.endswith("_by_class") for name in method.contrastive):
            yield ("metric",), f"`calculators` {' '.join(method.calculators)} knows norm alone"
