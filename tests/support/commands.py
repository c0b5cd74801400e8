"""Commands in this process, as a shell sees them."""

from __future__ import annotations

import pytest

from harness.cli.main import main


def exit_code(*arguments: object) -> int:
    """Exit code of ``lparbench`` with these arguments."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code
