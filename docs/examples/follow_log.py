"""Follows an audit log that grows, has every new line scored by a server, and acts on anomalies.

    lparbench serve nsl-kdd-autoencoder &
    python docs/examples/follow_log.py /var/log/audit/connections.csv --action 'logger -t intrusion'

A line holds the columns of NSL-KDD, with or without label and difficulty at its end. The file may be rotated or cut
short meanwhile. The action is run without a shell, once per anomaly, with the line and its score as JSON on its
standard input; without one, anomalies are printed. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COLUMNS = 41
CATEGORIES = (1, 2, 3)  # protocol, service, flag


def follow(path: Path, *, from_start: bool, poll_s: float, ended: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """Whole lines as they are written; goes on with the new file after a rotation, at the start after a cut."""
    handle, inode, rest = None, -1, b""
    begin = not from_start
    while True:
        if handle is None:
            try:
                handle = path.open("rb")
            except FileNotFoundError:
                if ended():
                    return
                time.sleep(poll_s)
                continue
            inode, rest = path.stat().st_ino, b""
            if begin:
                handle.seek(0, 2)
        begin = False
        data = handle.read(1 << 16)
        if data:
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode("utf-8", "replace").rstrip("\r") for line in lines)
            continue
        try:
            state = path.stat()
        except FileNotFoundError:
            state = None
        if state is None or state.st_ino != inode or state.st_size < handle.tell():
            handle.close()
            handle = None
            continue
        if ended():
            handle.close()
            return
        time.sleep(poll_s)


def features_of(line: str) -> list[Any]:
    """The raw features of a line.

    Raises:
        ValueError: it has other columns.
    """
    fields = line.split(",")
    if len(fields) not in (COLUMNS, COLUMNS + 1, COLUMNS + 2):
        raise ValueError(f"{len(fields)} fields in place of {COLUMNS}")
    return [text if index in CATEGORIES else float(text) for index, text in enumerate(fields[:COLUMNS])]


class Client:
    """Asks the server, over one connection, again when it refuses for want of time or restarts."""

    def __init__(self, url: str, token: str | None, patience_s: float) -> None:
        address = urlsplit(url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(address.hostname or "127.0.0.1", address.port, timeout=30)
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._patience_s = patience_s

    def score(self, features: list[Any]) -> dict[str, Any]:
        """The server's answer.

        Raises:
            ValueError: it refuses the line.
            OSError: it does not answer for longer than the patience.
        """
        body, deadline = json.dumps({"features": features}), time.monotonic() + self._patience_s
        while True:
            try:
                self._connection.request("POST", "/predict", body, self._headers)
                answer = self._connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if time.monotonic() > deadline:
                    raise OSError(f"the server does not answer: {error}") from None
                time.sleep(0.2)
                continue
            if answer.status == 200:
                return dict(json.loads(text))
            if answer.status not in (429, 503) or time.monotonic() > deadline:
                raise ValueError(f"status {answer.status}: {text.decode('utf-8', 'replace')}")
            time.sleep(min(float(answer.getheader("Retry-After") or 1), 5.0))


def act(action: list[str], line: str, answer: dict[str, Any]) -> None:
    """Do what is to be done about an anomaly."""
    event = json.dumps({"line": line, **answer})
    if not action:
        print(event, flush=True)
        return
    done = subprocess.run(action, input=event + "\n", text=True, check=False)
    if done.returncode:
        print(f"{action[0]} ended with {done.returncode}", file=sys.stderr, flush=True)


def main() -> None:
    """Follow, score, act, for ever."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("log", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--action", default="", help="a command; its standard input is the anomaly as JSON")
    parser.add_argument("--from-start", action="store_true", help="lines that are there already, too")
    parser.add_argument("--once", action="store_true", help="end at the end of the file")
    options = parser.parse_args()
    token = options.token_file.read_text(encoding="utf-8").strip() if options.token_file else None
    client, action = Client(options.url, token, 60.0), shlex.split(options.action)
    for line in follow(options.log, from_start=options.from_start, poll_s=0.2, ended=lambda: options.once):
        if not line.strip():
            continue
        try:
            answer = client.score(features_of(line))
        except ValueError as error:
            print(f"left out: {error}: {line[:80]}", file=sys.stderr, flush=True)
            continue
        if answer.get("anomaly"):
            act(action, line, answer)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as problem:
        sys.exit(f"follow_log: {problem}")
