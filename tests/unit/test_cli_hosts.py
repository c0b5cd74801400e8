"""Options that are a program and its words on the hosts of a fleet."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from harness import __version__
from harness.cli.hosts import say, say_as, say_event
from harness.cli.main import main
from harness.fleet.session import LookedEntry
from tests.support import fleets
from tests.support.fleets import facts


@pytest.mark.parametrize(("text", "fault"), [("a 'b", "No closing quotation"), ("", "has no word")])
@pytest.mark.parametrize("option", ["--command", "--python"])
def test_words_that_are_none_are_wrong_use(
    option: str, text: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hosts").write_text("lpar01\n", encoding="utf-8")
    wheel = tmp_path / f"lparbench-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("harness/__init__.py", "")
    push = ["--push", str(wheel)] if option == "--python" else []
    with pytest.raises(SystemExit) as ended:
        main(["fleet", "check", str(tmp_path / "hosts"), *push, option, text])
    assert ended.value.code == 4
    stderr = capsys.readouterr().err
    assert option in stderr
    assert fault in stderr


@pytest.mark.parametrize("as_json", [False, True])
def test_progress_of_a_command_with_json_is_json(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    say_as(json_lines=as_json)
    say("2 hosts\x1b[31m")
    say_as(json_lines=False)
    text = capsys.readouterr().err
    assert "\x1b" not in text
    assert not as_json or json.loads(text)["event"] == "message"
    say_event(LookedEntry("lpar1", fleets.looked(facts()), 0.5))
    event = json.loads(capsys.readouterr().err)
    assert (event["event"], event["host"], event["offset_s"], "looked" in event) == ("looked", "lpar1", 0.5, False)
