"""How much is tried.

ANCOR_TORTURE=1 gives the full counts, with a seed that is printed; ANCOR_TORTURE_SEED=N repeats it.
"""

import os
import random

from hypothesis import HealthCheck, Phase, seed, settings

TORTURE = os.environ.get("ANCOR_TORTURE") == "1"
SEED = int(os.environ.get("ANCOR_TORTURE_SEED", random.SystemRandom().randrange(2**32)))


def draws(short: int, whole: int):
    """Return a decorator of a hypothesis test: `short` draws, always the same, or `whole` fresh."""
    common = {
        "deadline": None,
        "database": None,
        "suppress_health_check": list(HealthCheck),
        "print_blob": False,
    }
    if not TORTURE:
        # What fails is made small by hand: a short draw has to end soon, whatever it finds.
        once = {"derandomize": True, "phases": (Phase.explicit, Phase.generate)}
        return settings(max_examples=short, **common, **once)

    def decorate(test):
        return seed(SEED)(settings(max_examples=whole, **common)(test))

    return decorate


class Tally:
    """Counts how cases ended, for the line that a whole draw prints."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.seconds = 0.0

    def add(self, ended) -> None:
        self.statuses[ended.status] = self.statuses.get(ended.status, 0) + 1
        self.seconds += ended.seconds

    def line(self, what: str) -> str:
        counts = ", ".join(f"{n} x {status}" for status, n in sorted(self.statuses.items()))
        total = sum(self.statuses.values())
        return f"{total} {what} (exit {counts}) in {self.seconds:.0f} s, seed {SEED}"
