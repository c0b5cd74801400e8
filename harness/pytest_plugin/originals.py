"""The standard library as it was before a test replaced something in it: what this package itself works with.

A test may replace what must not happen while it runs (``subprocess.Popen``, ``open``, the clocks, a whole file system),
or set it for its whole process (limits, signals), and the gate works while it runs. What the test gives to be timed
still meets the test's replacements.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import is_
from types import ModuleType
from typing import Any

import pytest

from harness.pytest_plugin.process_settings import Setting, settings

_PACKAGES = (sys.stdlib_module_names | {"harness", "numpy", "psutil"}) - {"warnings"}
_OF_PYTEST = frozenset({"excepthook", "unraisablehook", "last_type"})  # which pytest replaces itself
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: no other type's attributes can be set
_ENVIRONMENT = os.environ
_DATA = ("environ", "environb")  # of os: the only objects without code that are looked after
_ABSENT = object()
_SHOWN = 4


@dataclass(frozen=True)
class _Replaced:
    """One name that a test has replaced, in a module, in a class or among the imported modules."""

    owner: Any
    name: str
    original: object
    present: object

    def put(self, value: object, instead_of: object) -> bool:
        """Put a value where another is; whether it was there: the test may have put the original back itself."""
        namespace = vars(self.owner) if isinstance(self.owner, type) else self.owner
        if namespace.get(self.name, _ABSENT) is not instead_of:
            return False
        if isinstance(self.owner, type):
            if value is _ABSENT:
                type.__delattr__(self.owner, self.name)
            else:
                type.__setattr__(self.owner, self.name, value)
        elif value is _ABSENT:
            self.owner.pop(self.name, None)
        else:
            self.owner[self.name] = value
        return True

    def __str__(self) -> str:
        owner = self.owner
        where = f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.get("__name__")
        return f"{where}.{self.name}" if where else self.name


@dataclass(frozen=True)
class _Set:
    """A setting of the process that a test has changed."""

    setting: Setting
    original: object
    present: object

    def put(self, value: object, instead_of: object) -> bool:
        """See :meth:`_Replaced.put`."""
        return self.setting.put(value, instead_of)

    def __str__(self) -> str:
        return self.setting.name


@dataclass(frozen=True)
class Patches:
    """What a test has replaced, which can be set aside and put back; ``gone``: variables of the environment."""

    replaced: tuple[_Replaced | _Set, ...] = ()
    gone: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.replaced or self.gone)

    def __str__(self) -> str:
        names = list(dict.fromkeys(map(str, self.replaced))) or ["variables of the environment"]
        return ", ".join(names[:_SHOWN]) + (" and others" if len(names) > _SHOWN else "")

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Work with the originals meanwhile."""
        aside = [each for each in self.replaced if each.put(each.original, each.present)]
        gone = {name: value for name, value in self.gone.items() if name not in _ENVIRONMENT}
        _ENVIRONMENT.update(gone)
        try:
            yield
        finally:
            for name in gone:
                _ENVIRONMENT.pop(name, None)
            for each in reversed(aside):
                each.put(each.present, each.original)

    @contextlib.contextmanager
    def back(self) -> Iterator[None]:
        """Within :meth:`aside`, meet what the test has replaced meanwhile."""
        back = [each for each in reversed(self.replaced) if each.put(each.present, each.original)]
        for name in self.gone:
            _ENVIRONMENT.pop(name, None)
        try:
            yield
        finally:
            for each in reversed(back):
                each.put(each.original, each.present)
            _ENVIRONMENT.update(self.gone)

    def reader(self, read: Callable[[], Any]) -> Callable[[], Any]:
        """``read`` with the originals, for a call from within :meth:`back`; itself where nothing is replaced."""
        if not self:
            return read

        def with_originals() -> Any:
            with self.aside():
                return read()

        return with_originals


@dataclass
class Originals:
    """What the standard library and this package hold under each name before a test runs."""

    _modules: dict[str, tuple[ModuleType, Mapping[str, object]]] = field(default_factory=dict)
    _classes: dict[type, tuple[frozenset[str], Mapping[str, object]]] = field(default_factory=dict)
    _environment: dict[str, str] = field(default_factory=lambda: dict(_ENVIRONMENT))
    _settings: tuple[tuple[Setting, object], ...] = field(
        default_factory=lambda: tuple((setting, setting.read()) for setting in settings())
    )

    def learn(self) -> None:
        """Keep what the modules hold that were imported since."""
        for name, module in list(sys.modules.items()):
            if name in self._modules or name.partition(".")[0] not in _PACKAGES or not isinstance(module, ModuleType):
                continue
            kept = _code_of(vars(module), _DATA if name == "os" else ())
            self._modules[name] = module, kept
            for value in kept.values():
                if isinstance(value, type) and value not in self._classes and _settable(value):
                    self._classes[value] = frozenset(vars(value)), _code_of(vars(value))

    def patches(self) -> Patches:
        """What has been replaced since."""
        patched: list[_Replaced | _Set] = []
        for setting, original in self._settings:
            if not setting.same(present := setting.read(), original):
                patched.append(_Set(setting, original, present))
        for name, (module, kept) in self._modules.items():
            if (present := sys.modules.get(name, _ABSENT)) is not module:
                patched.append(_Replaced(sys.modules, name, module, present))
            patched += _changed(vars(module), vars(module), kept)
        for owner, (names, kept) in self._classes.items():
            namespace = vars(owner)
            patched += _changed(owner, namespace, kept)
            if len(namespace) > len(names):  # what was inherited, and is the class's own now
                added = _code_of(namespace).items()
                patched += [_Replaced(owner, name, _ABSENT, value) for name, value in added if name not in names]
        gone = {name: value for name, value in self._environment.items() if name not in _ENVIRONMENT}
        gone.pop("PYTEST_CURRENT_TEST", None)
        return Patches(tuple(patched), gone)


originals_key = pytest.StashKey[Originals]()


def patches_of(config: pytest.Config) -> Patches:
    """What the test that runs has replaced."""
    originals = config.stash.get(originals_key, None)
    return Patches() if originals is None else originals.patches()


def _code_of(namespace: Mapping[str, object], data: Collection[str] = ()) -> dict[str, object]:
    """What is code, or a constant: other objects change as a program runs."""
    names = {name for name, value in list(namespace.items()) if _constant(value)} - _OF_PYTEST
    return {name: namespace[name] for name in names.union(data) if name in namespace}


def _constant(value: object) -> bool:
    return callable(value) or isinstance(value, (ModuleType, str, tuple)) or hasattr(type(value), "__get__")


def _settable(owner: type) -> bool:
    return bool(owner.__flags__ & _HEAP_TYPE) and owner.__module__.partition(".")[0] in sys.stdlib_module_names


def _changed(owner: Any, namespace: Mapping[str, object], kept: Mapping[str, object]) -> list[_Replaced]:
    if all(map(is_, map(namespace.get, kept), kept.values())):
        return []
    present = ((name, original, namespace.get(name, _ABSENT)) for name, original in kept.items())
    return [_Replaced(owner, name, original, now) for name, original, now in present if now is not original]
