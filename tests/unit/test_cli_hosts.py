"""Options that are a program and its words on the hosts of a fleet."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from harness import __version__
from harness.cli.main import main


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
