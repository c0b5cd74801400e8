"""What a test gives to be timed: plain functions, coroutines, and pytest-benchmark's ``pedantic``."""

from __future__ import annotations

import inspect
import statistics
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from harness.errors import InputError
from harness.pytest_plugin.worker import Timed


class Pedantic:
    """The arguments of ``benchmark.pedantic``: ``setup`` runs before every round and may give the arguments."""

    def __init__(
        self,
        target: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        setup: Callable[[], Any] | None,
        teardown: Callable[..., Any] | None,
    ) -> None:
        self._target, self._setup, self._teardown = awaited(target), setup, teardown
        self._args, self._kwargs = tuple(args), dict(kwargs)
        self._unended = False

    def prepare(self) -> None:
        """What comes between two rounds."""
        self.end()
        if self._setup is not None and (given := self._setup()) is not None:
            self._args, self._kwargs = given
        self._unended = True

    def end(self) -> None:
        """What comes after the last round."""
        if self._unended and self._teardown is not None:
            self._teardown(*self._args, **self._kwargs)
        self._unended = False

    def __call__(self) -> Any:
        """One round."""
        return self._target(*self._args, **self._kwargs)


def plain(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[[], Any]:
    """``function`` with its arguments; a coroutine function is run to its end."""
    return partial(awaited(function), *args, **kwargs)


def awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, or what runs the coroutines it makes on an event loop of its own.

    Raises:
        InputError: ``function`` is no function, makes a generator (only its making would be timed), or makes
            coroutines inside a running event loop.
    """
    if not callable(function):
        raise InputError(f"{function!r} is not a function.", remedy="Give the function, and its arguments after it.")
    inner = inspect.unwrap(function)
    while isinstance(inner, partial):
        inner = inner.func
    kinds = (inner, getattr(inner, "__call__", None))  # noqa: B004 - an object's own method is asked for
    if any(inspect.isgeneratorfunction(kind) or inspect.isasyncgenfunction(kind) for kind in kinds):
        raise InputError(
            f"{_name(inner)} is a generator: only its making would be timed.",
            remedy="Give a function that uses it up: lambda: list(...).",
        )
    if not any(map(inspect.iscoroutinefunction, kinds)):
        return function
    refuse_in_loop(inner)
    import asyncio  # most tests have no use for it

    loop = asyncio.new_event_loop()

    def run(*args: Any, **kwargs: Any) -> Any:
        return loop.run_until_complete(function(*args, **kwargs))

    weakref.finalize(run, loop.close)
    return run


def refuse_in_loop(function: Callable[..., Any]) -> None:
    """Refuse to time a coroutine where an event loop runs already.

    Raises:
        InputError: one does.
    """
    asyncio = sys.modules.get("asyncio")
    try:
        if asyncio is None:
            return
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InputError(
        f"{_name(function)} is a coroutine function, and an event loop runs already.",
        remedy="Give it from a plain `def` test, where it is awaited.",
    )


def checked(value: Any, function: Callable[..., Any]) -> Any:
    """``value``, unless it is a coroutine or generator that a plain function made.

    Raises:
        InputError: it is one: only its making would be timed.
    """
    if inspect.isawaitable(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
        if inspect.iscoroutine(value):
            value.close()
        raise InputError(
            f"{_name(function)} returns a {type(value).__name__}: only its making would be timed.",
            remedy="Give the coroutine function itself, or a function that uses the generator up.",
        )
    return value


def first_value(timed: Timed) -> Any:
    """What the function gives when called once, as a round of it is."""
    if timed.prepare is not None:
        timed.prepare()
    value = timed.call()
    if isinstance(timed.call, Pedantic):
        timed.call.end()
    return value


class Stats(dict[str, Any]):
    """What ``benchmark.stats`` gives: figures by key and by attribute, of the candidate's samples in seconds."""

    def __init__(self, data: Sequence[float]) -> None:
        mean = statistics.fmean(data)
        ordered = sorted(data)
        quarters = statistics.quantiles(ordered, n=4, method="inclusive") if len(data) > 1 else [mean] * 3
        super().__init__(
            data=list(data),
            min=ordered[0],
            max=ordered[-1],
            mean=mean,
            stddev=statistics.stdev(data) if len(data) > 1 else 0.0,
            median=quarters[1],
            q1=quarters[0],
            q3=quarters[2],
            iqr=quarters[2] - quarters[0],
            rounds=len(data),
            iterations=1,
            total=sum(data),
            ops=1 / mean if mean else 0.0,
        )

    @property
    def stats(self) -> Stats:
        """Itself: pytest-benchmark keeps the figures one level down."""
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
