"""The table of methods: a name, and the class that trains by it.

A method is built from an `EncoderConfig` and an `AncorConfig`, of which it uses what it needs, and
offers what `ancor.methods.base.Method` lists. A new one is a file here and a line in `METHODS`.
"""

from ancor.methods.ancor import Ancor
from ancor.methods.base import Method

METHODS: dict[str, type[Method]] = {
    "ancor": Ancor,
}
