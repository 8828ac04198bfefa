"""Reading what anybody may have written: how much a file may become, in memory and time.

Everything that a file asks for is paid from one account, opened with `allowed(size of the file)`
bytes: instructions of a pickle, what its calls make, tensors and arrays by their extent. So a small
file stays small, whatever it says, and a large one costs in proportion to its size.
"""

import json
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from math import prod
from typing import Any, BinaryIO

FLOOR, TIMES = 2**27, 8  # bytes that any file may take, and times its own size beside them
STEP = 64  # bytes that an instruction of a pickle costs: most make one small object
DEPTH = 64  # containers in each other
BITS = 256  # of a whole number
TEXT = 2**23  # bytes of a JSON text
_SCALARS = (str, bytes, int, float, complex, type(None))


def allowed(size: int) -> int:
    """Bytes that a file of `size` bytes may become in memory."""
    return FLOOR + TIMES * size


class Account:
    """What is left of the bytes that a file may become."""

    def __init__(self, size: int) -> None:
        self.left = allowed(size)

    def spend(self, count: int) -> None:
        """Take some bytes off; ValueError where they do not suffice."""
        self.left -= count
        if self.left < 0:
            raise ValueError("it would become far larger than the file is")


def extent(shape: Iterable[int], itemsize: int) -> int:
    """Bytes of an array as its shape tells them; an axis of length 0 hides none of the others."""
    return prod(max(length, 1) for length in shape) * max(itemsize, 1)


def check_key(key: object) -> None:
    """Raise an UnpicklingError for a key that is more than a word, a number or a few of those.

    Hashing a tuple visits all that is in it: tuples that share tuples would take for ever.
    """
    inside = key if isinstance(key, tuple) and len(key) <= 16 else (key,)
    for part in inside:
        if not isinstance(part, _SCALARS) and type(part).__module__ != "numpy":
            raise pickle.UnpicklingError(f"a {type(part).__name__} as a key or member of a set")


def plain_set(items: Iterable = ()) -> set:
    """Make a set as a pickle may ask for it."""
    items = list(items)
    for item in items:
        check_key(item)
    return set(items)


def plain_dict(pairs: Iterable = ()) -> OrderedDict:
    """Make an OrderedDict as a pickle may ask for it."""
    pairs = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    for key, _ in pairs:
        check_key(key)
    return OrderedDict(pairs)


class Unpickler(pickle._Unpickler):  # in Python: the one in C cannot be stopped or counted
    """Reads a pickle by names that are admitted, within an account.

    Args:
        file: open for reading; its place is behind the pickle's last byte afterwards.
        account: what the file may become.
        admitted: for each (module, name) what stands for it.
        encoding: of the strings of Python 2.
    """

    def __init__(
        self,
        file: BinaryIO,
        account: Account,
        admitted: Mapping[tuple[str, str], Any],
        encoding: str,
    ) -> None:
        super().__init__(file, encoding=encoding)
        self.account, self.admitted = account, admitted
        self.dispatch = _Counted(account)

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; what it does about others is for subclasses to say."""
        try:
            return self.admitted[module, name]
        except KeyError:
            self.refuse(f"{module}.{name}")

    def refuse(self, name: str) -> None:
        """Raise the error for a name that is not admitted."""
        raise pickle.UnpicklingError(f"it asks for {name!r}")

    def persistent_load(self, pid: object) -> Any:
        """Refuse what lies outside the file."""
        raise pickle.UnpicklingError("it refers to objects outside the file")


def _with_size(code: int) -> Callable[[Unpickler], None]:
    def load(self: Unpickler) -> None:
        _BASE[code](self)
        self.account.spend(sys.getsizeof(self.stack[-1]))

    return load


def _built(self: Unpickler) -> None:
    state, made = self.stack[-1], self.stack[-2]
    if isinstance(made, OrderedDict):  # torch's state_dict; another attribute may hide a method
        if not isinstance(state, dict) or state.keys() - {"_metadata"}:
            raise pickle.UnpicklingError("a table is given attributes")
        self.stack.pop()
        return
    if not hasattr(type(made), "__setstate__"):
        raise pickle.UnpicklingError(f"a {type(made).__name__} is given a state")
    _BASE[pickle.BUILD[0]](self)
    self.account.spend(sys.getsizeof(made))


def _with_keys(code: int, keys: Callable[[list], list]) -> Callable[[Unpickler], None]:
    def load(self: Unpickler) -> None:
        for key in keys(self.stack):
            check_key(key)
        _BASE[code](self)

    return load


_BASE = pickle._Unpickler.dispatch
_EVERY_OTHER, _ALL = slice(None, None, 2), slice(None)
_KEYS = {
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: _EVERY_OTHER,
    pickle.DICT: _EVERY_OTHER,
    pickle.ADDITEMS: _ALL,
    pickle.FROZENSET: _ALL,
}
_DISPATCH = {
    **_BASE,
    **{
        code[0]: _with_keys(code[0], lambda stack, part=part: stack[part])
        for code, part in _KEYS.items()
    },
    **{code[0]: _with_size(code[0]) for code in (pickle.REDUCE, pickle.EMPTY_SET)},
    pickle.BUILD[0]: _built,
}


class _Counted:
    """The table of instructions; each look into it is paid for."""

    __slots__ = ("account",)

    def __init__(self, account: Account) -> None:
        self.account = account

    def __getitem__(self, code: int) -> Callable:
        account = self.account  # `spend` written out: it would be a third of the time of reading
        account.left -= STEP
        if account.left < 0:
            account.spend(0)
        return _DISPATCH[code]


def check_plain(
    value: Any,
    account: Account,
    leaf: Callable[[Any], None] | None = None,
    cost: int = 4 * STEP,
) -> None:
    """Raise a ValueError where containers are in each other too deep, or too much when written out.

    What is shared counts each time, and is visited once: who prints, sums or compares a value will
    visit it each time. A value within these bounds can be walked through by plain recursion.

    Args:
        value: plain containers of anything.
        account: what the file may become.
        leaf: looks at what is no container.
        cost: bytes of each value.
    """
    known: dict[int, tuple[int, int]] = {}  # of each container: values in it, and its height

    def visit(value: Any, depth: int) -> tuple[int, int]:
        items = _items(value)
        if items is None:
            if isinstance(value, int) and value.bit_length() > BITS:
                raise ValueError(f"a number of {value.bit_length()} bits")
            if leaf is not None:
                leaf(value)
            return 1, 0
        if depth > DEPTH:
            raise ValueError(f"more than {DEPTH} containers in each other")
        if id(value) not in known:
            count, height = 1, 0
            for item in items:
                inside, below = visit(item, depth + 1)
                count, height = count + inside, max(height, below)
            known[id(value)] = count, 1 + height
        if depth + known[id(value)][1] > DEPTH:
            raise ValueError(f"more than {DEPTH} containers in each other")
        return known[id(value)]

    account.spend(cost * visit(value, 0)[0])


def _items(value: Any) -> Any:
    """Return an iterator over what a container holds; None: it is none."""
    if isinstance(value, list | tuple | set | frozenset):
        return iter(value)
    if isinstance(value, Mapping):
        return chain(value.keys(), value.values())
    if getattr(getattr(value, "dtype", None), "hasobject", False):  # an array of objects
        return iter(value.ravel().tolist())
    return None


def parsed(text: str | bytes, finite: bool = True) -> Any:
    """Read a JSON text; a ValueError for whatever is not plain and small in it.

    Args:
        text: at most `TEXT` bytes.
        finite: whether NaN and infinite numbers, which Python writes too, are refused.
    """
    if len(text) > TEXT:
        raise ValueError(f"{len(text)} bytes of JSON; at most {TEXT} are read")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_once,
            parse_constant=_refuse_constant if finite else None,
            parse_int=_number,
        )
        check_plain(value, Account(len(text)))
    except RecursionError as error:
        raise ValueError(str(error)) from error
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r:.80} stands in it twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} where a finite number is expected")


def _number(digits: str) -> int:
    if len(digits) > 70:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
