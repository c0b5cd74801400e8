"""Standard streams on which a closed pipe, a closed descriptor and a full disk leave the exit code alone."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, TextIO, cast

_DESCRIPTORS = (0, 1, 2)
_ERROR = 2


class _Output(io.FileIO):
    """A descriptor that turns into a sink once its reader is gone: the command goes on and keeps its exit code."""

    reader_gone = False

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]  # whatever buffer the layer above passes
        except OSError as error:
            self.reader_gone = isinstance(error, BrokenPipeError)
            if not self.reader_gone and self.fileno() != _ERROR:  # what cannot be said on standard error is lost
                error.filename = "standard output"
                raise
            _to_null(self.fileno())
            return super().write(data)  # type: ignore[arg-type]


def reader_gone(stream: IO[str] | None = None) -> bool:
    """Whether whoever read ``stream`` (default: standard output) went away; an endless writer stops on that."""
    buffer = getattr(sys.stdout if stream is None else stream, "buffer", None)
    return bool(getattr(getattr(buffer, "raw", None), "reader_gone", False))


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Standard output and error as :class:`_Output` inside; replaced streams (a test's capture) are left alone."""
    for descriptor in _DESCRIPTORS:  # else the next file opened would take its number, and get the output of children
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number: this one
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        if sys.stdout is sys.__stdout__:
            sys.stdout = stack.enter_context(_opened(1, sys.stdout))
        if sys.stderr is sys.__stderr__:
            sys.stderr = stack.enter_context(_opened(2, sys.stderr))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


@contextlib.contextmanager
def _opened(descriptor: int, like: TextIO | None) -> Iterator[TextIO]:
    if like is not None:
        like.flush()
    stream = io.TextIOWrapper(
        io.BufferedWriter(cast("io.RawIOBase", _Output(descriptor, "wb", closefd=False))),
        encoding=getattr(like, "encoding", "utf-8"),
        errors=_errors(descriptor, like),
        line_buffering=descriptor == _ERROR or getattr(like, "line_buffering", False),
        write_through=getattr(like, "write_through", False),
    )
    try:
        yield stream
    finally:
        try:
            stream.flush()
        except OSError:  # a full disk, already reported: what is still in the buffer has nowhere to go
            _to_null(descriptor)
            stream.flush()


def _errors(descriptor: int, like: TextIO | None) -> str:
    """A character that the encoding lacks becomes a question mark, not a traceback."""
    errors = getattr(like, "errors", None) or "strict"
    if errors != "strict":
        return errors
    return "backslashreplace" if descriptor == _ERROR else "replace"


def _to_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
