"""What is timed is the code alone: tracers, profilers and tools of ``sys.monitoring`` are taken off the process."""

from __future__ import annotations

import subprocess
import sys
from types import CodeType

from harness.interpreter import environment
from harness.pytest_plugin.worker import unmonitored


def test_allocations_are_not_traced_where_the_interpreter_was_started_so() -> None:
    text = (
        "import sys, tracemalloc, harness.pytest_plugin.worker as worker; assert tracemalloc.is_tracing()\n"
        "del sys.modules['tracemalloc']\n"  # which the interpreter does not import to trace
        "worker.untraced(); sys.exit(tracemalloc.is_tracing())"
    )
    assert subprocess.call([sys.executable, "-X", "tracemalloc", "-c", text], env=environment({})) == 0


class Monitoring:
    """As ``sys.monitoring`` of Python 3.12 and 3.13, which goes on with the events of single functions."""

    def __init__(self) -> None:
        self.tools: dict[int, str] = {1: "coverage"}
        self.events: dict[CodeType | None, int] = {None: 32}

    def get_tool(self, tool: int) -> str | None:
        return self.tools.get(tool)

    def set_events(self, tool: int, events: int) -> None:
        assert tool in self.tools
        self.events[None] = events

    def set_local_events(self, tool: int, code: CodeType, events: int) -> None:
        assert tool in self.tools
        self.events[code] = events

    def free_tool_id(self, tool: int) -> None:
        del self.tools[tool]


def outer() -> object:
    def inner() -> None: ...

    return inner


def test_a_monitoring_tool_loses_what_it_watches_of_single_functions() -> None:
    monitoring = Monitoring()
    inner = next(code for code in outer.__code__.co_consts if isinstance(code, CodeType))
    monitoring.events |= {outer.__code__: 32, inner: 32}
    unmonitored(monitoring)
    assert monitoring.tools == {}
    assert set(monitoring.events.values()) == {0}
    unmonitored(None)
