"""Names of workloads: arguments are read and never run; what is no workload is met by the right name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.platform.facts import Facts
from harness.record.spec import RunSpec
from harness.runs.design import named_files, new_design
from harness.runs.preflight import check_backends, check_workloads
from harness.workload.files import find_workload
from harness.workload.naming import parsed

OWN = "class Helper:\n    pass\n\nclass ZScore:\n    def fit(self, X):\n        return self\n"
FOREST = "sklearn.ensemble:IsolationForest"
constants = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3),
    max_leaves=4,
)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: not __import__("keyword").iskeyword(name))


@given(st.dictionaries(names, constants, max_size=4))
def test_any_constants_come_back(arguments: dict[str, object]) -> None:
    text = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    assert parsed(f"mod:Class({text})").arguments == arguments
    assert parsed(f"mod:Class({text})").name == "mod:Class"


@pytest.mark.parametrize(
    "text",
    ["m:C(1)", "m:C(a=open('x'))", "m:C(**{'a': 1})", "m:C(a=b)", "m:C(a=", "m:C(a=1)(b=2)", "m:C(a=1).d()", "(a=1)",
     "m:C(a=1", "m:C)", "m:C(a=__import__('os').getcwd())", "m:C(a=" + "[" * 5000 + ")"],
)  # fmt: skip
def test_what_is_no_constant_is_refused_and_not_run(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed(text)
    assert "n_estimators=200" in str(caught.value)


def test_arguments_reach_the_detector_and_tell_two_workloads_apart() -> None:
    small, large = (find_workload(f"{FOREST}(n_estimators={count}, bootstrap=True)") for count in (10, 200))
    assert small.parameters_for("clean", 3) == {"n_estimators": 10, "bootstrap": True, "random_state": 3}
    assert small.detector == large.detector == FOREST
    assert small.name == "nsl-kdd-isolationforest-n_estimators=10-bootstrap=True" != large.name
    shipped = find_workload("nsl-kdd-mlp(epochs=2, learning_rate=0.01)")
    assert shipped.training_for("clean").epochs == 2
    assert shipped.parameters_for("clean", 0)["learning_rate"] == 0.01
    assert shipped.published is None
    assert shipped.accuracy.floor == {}
    check_workloads([shipped], [shipped.name])


def test_an_argument_that_a_workload_does_not_take_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown parameter 'learning_rat'\. Did you mean 'learning_rate'"):
        check_workloads([find_workload("nsl-kdd-mlp(learning_rat=0.1)")], ())


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("mydet.py:ZScore", "mydet.py is a file", "mydet:ZScore."),
        ("folder/mydet.py:ZScore", "is a file", "mydet:ZScore, run in folder."),
        ("mydet.py", "Unknown workload 'mydet.py'", "A class in that file: mydet:ZScore."),
        ("mydet", "Unknown workload 'mydet'", "A class in that file: mydet:ZScore."),
        ("odds:arrhythmia", "is a data set", "--dataset odds:arrhythmia"),
        ("csv:fraud.csv", "is a data set", "--dataset csv:fraud.csv"),
        ("x:\x1b[2J", "module:Class is expected", "sklearn.ensemble:IsolationForest"),
        ("x:a b", "module:Class is expected", "sklearn.ensemble:IsolationForest"),
        ("mydet:", "module:Class is expected", "sklearn.ensemble:IsolationForest"),
        ("nsl-kdd-mpl", "Unknown workload", "Did you mean 'nsl-kdd-mlp'?"),
    ],
)
def test_what_is_no_workload_is_met_by_the_right_name(
    name: str, message: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mydet.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        find_workload(name)
    assert message in caught.value.message
    assert remedy in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        (
            "kdd99-isolation-forest",
            {"backends": ("compile",)},
            "cannot run on compile. It runs on: eager, onnxruntime, native.",
        ),
        (FOREST, {"backends": ("native", "onnxruntime")}, "cannot run on native or onnxruntime. It runs on: eager."),
        ("nsl-kdd-mlp", {"backends": ("eager",), "dtypes": ("int8",)}, "has no int8 on eager. There it has: float32."),
        ("kdd99-isolation-forest", {"backends": ("compile", "eager")}, None),
        ("nsl-kdd-mlp", {"backends": ("eager", "native"), "dtypes": ("bfloat16",)}, None),
        ("kdd99-isolation-forest", {"backends": ("compile",), "suite": "full"}, None),  # others of the suite can
    ],
)
def test_backends_that_cannot_be_are_refused_at_once(name: str, spec: dict[str, object], message: str | None) -> None:
    asked = RunSpec((name,), **spec)
    if message is None:
        check_backends([find_workload(name)], asked)
        return
    with pytest.raises(InputError) as caught:
        check_backends([find_workload(name)], asked)
    assert message in str(caught.value)


def test_a_file_with_arguments_is_asked_for_and_found_as_one_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments do not get foreign code past the question whether it may run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = f'name = "own"\ntitle = "Own"\ndetector = "{FOREST}"\ndataset = "nsl-kdd"\n'
    (tmp_path / "own.toml").write_text(text)
    for name in ("own.toml", "own.toml(n_estimators=20)"):
        design = new_design(RunSpec((name,), synthetic=True), (), Facts("/"))
        assert design.spec.workloads == (f"{tmp_path}/{name}",)
        assert named_files(tmp_path / "design.json", design.spec)[1:] == [tmp_path / "own.toml"]
    (tmp_path / "own.toml").chmod(0o666)  # anybody may have written it
    for name in ("own.toml", "own.toml(n_estimators=20)"):
        with pytest.raises(InputError, match="runs code with your rights"):
            new_design(RunSpec((name,), synthetic=True), (), Facts("/"))


@pytest.mark.parametrize(("name", "kind"), [("flows.csv", "csv"), ("flows.parquet", "parquet")])
def test_a_table_in_place_of_a_workload_is_met_by_the_option_that_takes_it(name: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"{name!r} is the name of a table; a workload was expected") as raised:
        find_workload(name)
    assert f"--dataset {kind}:{name} --label COLUMN" in (raised.value.remedy or "")


def test_on_a_file_of_ones_own_the_metric_is_no_publications() -> None:
    published = find_workload("nsl-kdd-isolation-forest")
    own = published.on_dataset("csv:flows.csv", {"label": "label"})
    names = {"flows.csv.gz": "flows", "days/*.csv": "days", "day*.csv": "day", "*.csv": "files", "days": "days"}
    for path, name in names.items():
        assert published.on_dataset(f"csv:{path}", {}).name == f"{name}-nsl-kdd-isolation-forest"
    assert (published.accuracy.metric, own.accuracy.metric, own.published) == ("accuracy", "auc_roc", None)
