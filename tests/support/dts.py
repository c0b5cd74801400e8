"""Device-tree source to the directories that the kernel would show for it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

_TOKEN = re.compile(
    r"\s*(?:(?P<open>(?P<node>[^\s{};=]+)\s*\{)"
    r"|(?P<close>\}\s*;)"
    r"|(?P<name>[^\s{};=]+)(?:\s*=\s*(?P<value>(?:\"[^\"]*\"|[^;\"])*))?;)"
)


def _bytes(value: str | None) -> bytes:
    content = b""
    for part in re.finditer(r"<(?P<cells>[^>]*)>|\"(?P<text>[^\"]*)\"|\[(?P<hex>[^\]]*)\]", value or ""):
        if part["cells"] is not None:
            content += b"".join(struct.pack(">I", int(cell, 0)) for cell in part["cells"].split())
        elif part["text"] is not None:
            content += part["text"].encode().replace(b"\\0", b"\0") + b"\0"
        else:
            content += bytes.fromhex(part["hex"])
    return content


def unpack(source: str, root: Path) -> None:
    """Write the nodes and properties of a ``/dts-v1/`` text below ``root``."""
    text = source.partition("/dts-v1/;")[2]
    here = root
    position = 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        if match["open"]:
            here = root if match["node"] == "/" else here / match["node"]
            here.mkdir(parents=True, exist_ok=True)
        elif match["close"]:
            here = here.parent
        else:
            (here / match["name"]).write_bytes(_bytes(match["value"]))
    assert not text[position:].strip(), f"not understood: {text[position : position + 60]!r}"
