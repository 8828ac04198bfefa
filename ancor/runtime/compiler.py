"""torch's compiler, `torch._dynamo`, which takes longer to import than all of timm."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

_COMPILER, _UTILS = "torch._dynamo", "torch._dynamo.utils"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Run what asks for torch's compiler and compiles nothing without an import of it.

    torch's optimizers, networks on "meta", torchvision and timm keep functions out of compiled
    code, which does nothing where there is none. Whatever else is asked of the compiler in this
    context imports it at once.
    """
    if "torch" not in sys.modules or _COMPILER in sys.modules:
        yield
        return
    sys.modules[_COMPILER] = _StandIn(_COMPILER, disable=_disable, graph_break=_graph_break)
    sys.modules[_UTILS] = _StandIn(_UTILS, is_compile_supported=_is_compile_supported)
    try:
        yield
    finally:
        _give_way()


class _StandIn(ModuleType):
    def __init__(self, name: str, **functions: Callable) -> None:
        super().__init__(name)
        self.__dict__.update(functions)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and (self.__name__, attribute) != (_COMPILER, "__path__"):
            raise AttributeError(attribute)  # what `import` and `inspect` ask of every module
        return getattr(_real(self.__name__), attribute)


def _absent() -> bool:
    return isinstance(sys.modules.get(_COMPILER), _StandIn | None)


def _give_way() -> None:
    for name in (_COMPILER, _UTILS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _real(name: str) -> ModuleType:
    _give_way()
    return import_module(name)


def _disable(fn: Any = None, *args: Any, **options: Any) -> Any:
    if not isinstance(fn, FunctionType):  # a class has to stay one
        return _real(_COMPILER).disable(fn, *args, **options)
    own = None

    @wraps(fn)
    def disabled(*inputs: Any, **named: Any) -> Any:
        nonlocal own
        if _absent():
            return fn(*inputs, **named)
        own = own or _real(_COMPILER).disable(fn, *args, **options)
        return own(*inputs, **named)

    return disabled


def _graph_break(*args: Any, **options: Any) -> None:
    if not _absent():
        _real(_COMPILER).graph_break(*args, **options)


def _is_compile_supported(*args: Any, **options: Any) -> bool:
    return _real(_UTILS).is_compile_supported(*args, **options)
