"""The ``lparbench`` fixture: gives what a test times to whoever measures and judges it, and says the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from harness.errors import InputError, LparbenchError
from harness.measure.clock import SystemClock
from harness.pytest_plugin.calls import Pedantic, Stats, checked, first_value, plain
from harness.pytest_plugin.options import file_name, session_key
from harness.pytest_plugin.originals import Patches, patches_of
from harness.pytest_plugin.outcomes import NoVerdict, end_where_the_tool_failed, open_outcome
from harness.pytest_plugin.serve import request_key
from harness.pytest_plugin.worker import BASELINE, CANDIDATE, Timed, measure

if TYPE_CHECKING:
    from harness.pytest_plugin.judge import Judge, Settings
    from harness.pytest_plugin.processes import Place

T = TypeVar("T")
_USED = {"group", "disable_gc"}  # arguments of pytest.mark.benchmark that the gate goes by


class Lparbench:
    """The fixture's value: judges each function that it is called with, and answers as ``benchmark`` does.

    The verdict is kept until the test has ended, so that the test's own assertions come first.

    Attributes:
        problems: what stands in the way of passing, for the end of the test.
        summary: lines for the end of the report.
        patches: what the test had replaced when it was last called.
        name, fullname, group, param, params, extra_info, stats: as pytest-benchmark's fixture has them.
    """

    disabled, enabled = False, True
    skipped = has_error = False

    def __init__(self, item: pytest.Item, config: pytest.Config, gates: Sequence[Lparbench] = ()) -> None:
        self._item, self._config = item, config
        self._gates = gates  # of the test, this one among them: their calls are counted together
        self._calls = 0
        self.problems: list[BaseException] = []
        self.summary: list[str] = []
        self.name, self.fullname = item.name, item.nodeid
        marker = item.get_closest_marker("benchmark")
        self.group = None if marker is None else marker.kwargs.get("group")
        if marker is not None:
            config.stash[session_key].unused |= {name for name in marker.kwargs if name not in _USED}
        self._collect_garbage = marker is None or not marker.kwargs.get("disable_gc", False)
        callspec = getattr(item, "callspec", None)
        self.param: str | None = None if callspec is None else callspec.id
        self.params: dict[str, Any] | None = None if callspec is None else callspec.params
        self.extra_info: dict[str, Any] = {}
        self.stats: Stats | None = None
        self.patches = Patches()

    def __call__(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Judge ``function(*args, **kwargs)`` against the test's baseline file; gives what it returns."""
        self._enter()
        call = self._judged(lambda: plain(function, args, kwargs))
        timed = Timed(call, collect_garbage=self._collect_garbage)
        value: T = self._stored({CANDIDATE: timed}, function)
        return value

    def pedantic(
        self,
        target: Callable[..., T],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> T:
        """As pytest-benchmark's: ``setup`` before each round, and then at least twenty rounds per process.

        Without one, a process makes no more rounds than asked for; where these are fewer than twenty, several forks
        make up what counts as one process.
        """
        self._enter()
        call = self._judged(lambda: Pedantic(target, args, kwargs or {}, setup, teardown))
        prepare = None if setup is None and teardown is None else call.prepare
        timed = Timed(call, prepare, rounds, iterations, warmup_rounds, self._collect_garbage)
        value: T = self._stored({CANDIDATE: timed}, target)
        return value

    def against(self, baseline: Callable[..., Any], candidate: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Judge ``candidate`` against ``baseline``, both called alike and measured in the same blocks.

        Gives what the candidate returns.
        """
        self._enter()
        functions = {BASELINE: baseline, CANDIDATE: candidate}
        sides = {side: Timed(self._judged(partial(plain, call, args, kwargs))) for side, call in functions.items()}
        judge = self._begin(sides)
        self._once(sides[BASELINE])
        value: T = checked(self._once(sides[CANDIDATE]), candidate)
        if judge is not None:
            self._measured(partial(judge.against, sides))
        return value

    def weave(self, *_: object, **__: object) -> None:
        """Refused: pytest-benchmark's times calls wherever the test makes them, which no other process can repeat."""
        why = "benchmark.weave times calls that the test makes in this process, which no other can repeat."
        self._judged(partial(_refuse, InputError(why, remedy="Give the function to the fixture: benchmark(function).")))

    patch = weave

    def workload(self, name: str, **options: object) -> None:
        """Run a workload and judge its times and accuracy against the test's baseline file.

        Args:
            name: as ``lparbench run`` takes it.
            options: other fields of :class:`harness.record.spec.RunSpec`; ``blocks`` and where it runs are arguments of
                the marker.
        """
        self._enter()
        judge = self._begin({})
        if judge is not None:
            self._measured(partial(judge.workload, name, options))

    @property
    def called(self) -> bool:
        """Whether the test has given it anything to judge."""
        return self._calls > 0

    def finish(self) -> None:
        """Say the verdict, once the test has ended well.

        Raises:
            NoVerdict: there is none.
            Failed: it got slower, or cannot be judged as it is written.
        """
        if not self._calls:
            self.problems.append(NoVerdict("the test did not call it"))
        for problem in sorted(self.problems, key=lambda problem: isinstance(problem, NoVerdict)):
            if isinstance(problem, NoVerdict):
                open_outcome(self._config, problem, self.summary, self._item.nodeid)
            else:
                raise problem

    def _begin(self, sides: Mapping[str, Timed]) -> Judge | None:
        """Who judges this call; in a worker process, measure where this call is the one, and end the test there.

        None in a worker for another call.
        """
        index = sum(gate._calls for gate in {*self._gates, self})
        self._calls += 1
        request = self._config.stash.get(request_key, None)
        if request is not None:
            directory, job = request
            if job.index == index:
                measure(directory, job, sides[job.side], self.patches)
                pytest.skip("measured")
            return None
        with self.patches.aside():
            from harness.pytest_plugin.judge import Judge, Settings  # what a worker need not import

        self._config.stash[session_key].called.add(file_name(self._item.nodeid, index))
        settings = self._judged(lambda: Settings.of(self._item))
        place = self._judged(lambda: self._place(settings))
        return Judge(self._item, settings, index, place, self.summary, self.problems, self.patches)

    def _place(self, settings: Settings) -> Place:
        from harness.pytest_plugin.judge import place_of

        return place_of(settings, self._config)

    def _stored(self, sides: Mapping[str, Timed], function: Callable[..., Any]) -> Any:
        """Call the function of the test once, then judge it."""
        judge = self._begin(sides)
        began = SystemClock.now_ns()  # bound when it was imported: a test may have stopped Python's clocks
        raw = self._once(sides[CANDIDATE])
        self.stats = Stats([(SystemClock.now_ns() - began) * 1e-9])
        value = self._judged(lambda: checked(raw, function))
        if judge is not None and (data := self._measured(lambda: judge.function(sides))):
            self.stats = self._judged(lambda: Stats(data))
        return value

    def _once(self, timed: Timed) -> Any:
        """What the function gives in the test itself; a test that expects it to raise has nothing measured."""
        try:
            return first_value(timed)
        except BaseException as error:
            self.problems.append(NoVerdict(f"it raised {type(error).__name__}, so that nothing was measured"))
            raise

    def _enter(self) -> None:
        """Know what the test has replaced, which may be something else at each call."""
        request = self._config.stash.get(request_key, None)
        if request is not None:
            self._untimed()
        self.patches = patches_of(self._config) if request is None or request.job.patched else Patches()

    def _measured(self, measured: Callable[[], T]) -> T | None:
        """What ``measured`` gives; nothing, and no verdict, where what the test has replaced stands in its way."""
        self._untimed()
        try:
            return self._judged(measured)
        except NoVerdict as problem:
            self.problems.append(problem)
            return None

    def _untimed(self) -> None:
        """Stop the timer of pytest-timeout: its limit is for the test as it is written, not for all its processes."""
        cancel = getattr(self._item.ihook, "pytest_timeout_cancel_timer", None)
        if cancel is not None:
            cancel(item=self._item)

    def _judged(self, judge: Callable[[], T]) -> T:
        """What ``judge`` gives, with the originals of what the test has replaced; wrong use fails the test at once.

        Raises:
            NoVerdict: it fails where the test has replaced something.
        """
        try:
            with self.patches.aside():
                try:
                    return judge()
                except (LparbenchError, OSError) as error:
                    end_where_the_tool_failed(self._config, error)
                    problem = error
        except Exception as error:
            if not self.patches:
                raise
            why = f"nothing can be measured while the test replaces {self.patches}: {type(error).__name__}: {error}"
            raise NoVerdict(why) from None
        pytest.fail(f"lparbench: {problem}", pytrace=False)


def _refuse(error: InputError) -> None:
    raise error
