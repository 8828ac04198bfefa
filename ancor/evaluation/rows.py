"""Reading rows from a stream of arrays."""

from collections.abc import Iterator

from torch import Tensor


class RowReader:
    """Reads from a stream of (n, F) tensors as many rows as are asked for.

    Args:
        stream: a generator.
    """

    def __init__(self, stream: Iterator[Tensor]) -> None:
        self._stream, self._rest = stream, None

    def read_into(self, target: Tensor) -> None:
        """Fill all rows of `target`; StopIteration where the stream has fewer."""
        filled = 0
        while filled < len(target):
            if self._rest is None or not len(self._rest):
                self._rest = next(self._stream)
            taken = self._rest[: len(target) - filled]
            target[filled : filled + len(taken)] = taken
            filled, self._rest = filled + len(taken), self._rest[len(taken) :]

    def close(self) -> None:
        """End the stream."""
        self._stream.close()
