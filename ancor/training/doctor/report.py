"""What the doctor says: findings, a line each, and all figures."""

from dataclasses import dataclass, field
from typing import Any

OK, LOOK, WRONG = "ok", "look", "wrong"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: the check's.
        verdict: `ok`; `look` where something is slow or was not checked; `wrong`.
        text: what was found, in a line, with what to do about it.
        figures: the numbers behind it.
    """

    name: str
    verdict: str
    text: str
    figures: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return it for people."""
        return f"{self.verdict:<6}{self.name:<15} {self.text}"


def summary(findings: list[Finding]) -> str:
    """Say how many checks ended how."""
    seen = [each.verdict for each in findings]
    return f"{seen.count(OK)} ok, {seen.count(LOOK)} to look at, {seen.count(WRONG)} wrong"


def as_dict(findings: list[Finding]) -> dict[str, Any]:
    """Return findings for JSON, by check."""
    return {
        each.name: {"verdict": each.verdict, "text": each.text, **each.figures} for each in findings
    }
