"""What every command says of itself, in a terminal of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from typer.main import get_command

from harness.cli.main import _run, _without_debug, app

PYTHONS_OWN = re.compile(r"<(?:str|int|float|bool|path|list|int range|float range)\b[^>]*>|list\[|Path\]")


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*words, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))


ALL = dict(commands(get_command(app)))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_no_help_shows_a_type_of_python_or_a_nameless_argument(words: tuple[str, ...]) -> None:
    command = ALL[words]
    context = command.make_context(words[-1], [], resilient_parsing=True, terminal_width=80)
    text = command.get_help(context)
    assert not PYTHONS_OWN.search(text)
    usage = text.split("\n\n")[0]
    assert not re.search(r"\[\[|\]\]|\.\.\.\]\.\.\.|\}\.\.\.", usage), usage
    assert max(map(len, text.splitlines())) <= 80
    for parameter in command.params:
        record = parameter.get_help_record(context)
        assert record is None or record[0].strip(), parameter.name


@pytest.mark.parametrize("words", [words for words in ALL if not hasattr(ALL[words], "commands")], ids=" ".join)
def test_what_answers_something_has_json_and_everything_an_example(words: tuple[str, ...]) -> None:
    options = {option for parameter in ALL[words].params for option in parameter.opts}
    acts = {
        ("site",),
        ("smt", "set"),
        ("smt", "restore"),
        ("fleet", "host"),
    }  # they do something, and say that it is done
    assert ("--json" in options) == (words not in acts)
    assert "Example: " in (ALL[words].callback.__doc__ or "")


def test_a_node_is_chosen_by_the_same_option_everywhere() -> None:
    options = {
        words[-1]: parameter.opts
        for words, command in ALL.items()
        for parameter in command.params
        if {"--node", "--nodes"} & {*parameter.opts}
    }
    assert {"run", "sweep", "size", "serve", "place"} <= options.keys()
    assert all(opts[:2] == ["--nodes", "--node"] for opts in options.values()), options


def literals(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Literal:
        yield hint
    for argument in get_args(hint):
        yield from literals(argument)


@pytest.mark.parametrize("words", [words for words in ALL if not hasattr(ALL[words], "commands")], ids=" ".join)
def test_no_option_is_a_literal_which_older_versions_of_typer_do_not_know(words: tuple[str, ...]) -> None:
    hints = get_type_hints(ALL[words].callback, include_extras=True)
    assert [name for name, hint in hints.items() if list(literals(hint))] == []


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["help"], ["--help"]),
        (["version"], ["--version"]),
        (["run", "help"], ["run", "help"]),
        (["place", "--", "help"], ["place", "--", "help"]),
        ([], []),
    ],
)
def test_words_that_many_programs_take_for_options(given: list[str], meant: list[str]) -> None:
    assert _without_debug(given) == (meant, False)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["run", "nsl-kdd-mlp", "--batch", "64"], "sweep has --batch. See: lparbench run --help"),
        (["run", "nsl-kdd-mlp", "--threads", "2"], "Did you mean --threads-per-core? See: lparbench run --help"),
        (
            ["run", "nsl-kdd-mlp", "--cores", "1-2"],
            "lparbench sweep --cores compares several. See: lparbench run --help",
        ),
        (["run", "nsl-kdd-mlp", "--seeds", "x"], "Invalid value for '--seeds': a whole number was expected."),
        (["kernels", "--csv"], "See: lparbench kernels --help"),
        (["run", "nsl-kdd-mlp", "--bugdet", "5s"], "Did you mean --budget? See: lparbench run --help"),
        (["place", "--cores", "2-4"], "whole number"),
        (["run", "a-name-like-no-other"], "are known. Or give a .toml file. See: lparbench list"),
        (["doctor", "--frobnicate"], "  See: lparbench doctor --help"),
        (["run", "nsl-kdd-mlp", "--nodes", "0,1"], "lparbench sweep --nodes 0,1 compares several."),
        (["smt", "set", "2", "--json"], "smt set has no option --json."),
    ],
)
def test_an_option_that_is_none_is_met_by_the_one_that_was_meant(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(arguments, debug=False) == 4
    assert hint in capsys.readouterr().err
