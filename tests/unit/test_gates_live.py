"""Two looks at blocks measured live: unchanged results pass whatever the noise, slower ones do not."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from harness.compare.observations import Key, Observation, Side
from harness.gates.gate import GateResult, GateVerdict
from harness.gates.live import AddBlocks, judge_live
from harness.gates.policy import Policy, Rule

FINGERPRINT = {"arch": "ppc64le", "cpu": "POWER10"}
KEY = Key("test_it.py::test_it", "function", "", "", 0)


def result(seed: int, sd: float, *, slower: float = 0.0, policy: Policy = Policy(), most: int = 60) -> GateResult:  # noqa: B008
    rng = np.random.default_rng(seed)

    def begin() -> AddBlocks:
        times: dict[str, dict[int, float]] = {"base": {}, "head": {}}

        def add(blocks: int) -> tuple[Side, Side]:
            for _ in range(blocks):
                for name, level in (("base", 1e-3), ("head", 1e-3 * (1 + slower))):
                    times[name][len(times[name])] = level * math.exp(rng.normal(0, sd))
            first, second = (
                Side(
                    name,
                    "2026-08-01T00:00:00Z",
                    {"arch": "ppc64le", "cpu": "POWER10"},
                    {KEY: Observation(KEY, dict(t))},
                )
                for name, t in times.items()
            )
            return first, second

        return add

    (judged,) = judge_live(begin, {KEY}, policy, max_blocks=most).results
    return judged


@pytest.mark.parametrize("sd", [0.02, 0.06])
def test_of_eighty_unchanged_results_none_is_open(sd: float) -> None:
    assert Counter(result(seed, sd).verdict for seed in range(80)) == {GateVerdict.PASSED: 80}


@pytest.mark.parametrize("sd", [0.02, 0.06])
def test_a_tenth_slower_is_found_and_never_passes(sd: float) -> None:
    verdicts = Counter(result(seed, sd, slower=0.1).verdict for seed in range(40))
    assert verdicts[GateVerdict.REGRESSED] >= 36
    assert verdicts[GateVerdict.PASSED] == 0


def test_a_named_margin_is_never_widened() -> None:
    for policy in (Policy(margin=0.03), Policy(rules={"*test_it*": Rule(margin="3%")})):
        named = [result(seed, 0.08, policy=policy) for seed in range(10)]
        passed = [judged.time for judged in named if judged.verdict is GateVerdict.PASSED]
        assert {time.comparison.margin for time in passed if time is not None} == {0.03}
        assert 0 < len(passed) < len(named)
    wide = [result(seed, 0.08) for seed in range(10)]
    assert all(judged.verdict is GateVerdict.PASSED for judged in wide)
    assert max(judged.time.comparison.margin for judged in wide if judged.time is not None) <= 0.2
    assert "margin" in wide[0].why


def test_a_machine_too_noisy_says_within_what_unchanged_code_stays() -> None:
    judged = result(2, 0.6, most=8)
    assert judged.verdict is GateVerdict.INCONCLUSIVE
    assert "too noisy to gate on" in judged.why
