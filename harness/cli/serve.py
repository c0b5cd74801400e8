"""``lparbench serve``: a saved model behind HTTP, in a placement of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import completion, own_data
from harness.cli.choices import parse_source
from harness.cli.durations import seconds
from harness.cli.options import BundleBackend, DataDir, Synthetic, Trust
from harness.cli.rates import per_second
from harness.errors import InputError
from harness.trust import allow

_PLACE = "Where it runs"
_LIMITS = "Limits"
_ACCESS = "Access"
_CARDS = "Streams of card transactions"


@own_data.takes_own_data
def serve(
    model: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE|WORKLOAD|RUN", autocompletion=completion.workloads,
            help="Directory that `lparbench run --save` kept, that run, or a workload, trained and saved first.",
        ),
    ],
    api: Annotated[str, typer.Option(metavar="NAME", help="documents, v2 (Open Inference Protocol), both.")] = "both",
    front: Annotated[str, typer.Option(metavar="NAME", help="lean, or asgi: FastAPI on uvicorn, with /docs.")] = "lean",
    backend: BundleBackend = None,
    cores: Annotated[int, typer.Option(min=1, metavar="N", rich_help_panel=_PLACE, help="Distinct cores.")] = 1,
    threads_per_core: Annotated[
        int, typer.Option(min=1, metavar="K", rich_help_panel=_PLACE, help="Threads on each core.")
    ] = 1,
    node: Annotated[
        list[int] | None,
        typer.Option(
            "--nodes", "--node", metavar="ID", rich_help_panel=_PLACE, show_default=False,
            help="NUMA node; several score on each. Default: the one that fits with the most free memory.",
        ),
    ] = None,
    fronts: Annotated[
        int,
        typer.Option(
            min=1, max=64, metavar="N", rich_help_panel=_PLACE,
            help="Processes that read HTTP; with more than one, a process of its own scores on each node.",
        ),
    ] = 1,
    host: Annotated[str, typer.Option(rich_help_panel=_ACCESS, help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, rich_help_panel=_ACCESS, help="0 for any free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_ACCESS, show_default=False,
            help="Ask for the bearer token that is in it; health stays open.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", rich_help_panel=_ACCESS, show_default=False, help="PEM certificate.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", rich_help_panel=_ACCESS, show_default=False, help="Its key.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", rich_help_panel=_ACCESS, help="Listen beyond loopback without token or TLS.")
    ] = False,
    deadline: Annotated[
        str, typer.Option(metavar="TIME", rich_help_panel=_LIMITS, help="Refuse what would take longer.")
    ] = "50ms",
    queue: Annotated[
        int, typer.Option(min=1, metavar="ROWS", rich_help_panel=_LIMITS, help="Rows that may wait.")
    ] = 4096,
    max_body: Annotated[
        int,
        typer.Option(
            min=1, metavar="BYTES", rich_help_panel=_LIMITS, help="Largest body of a request; 1048576 is 1 MiB."
        ),
    ] = 1 << 20,
    quota: Annotated[
        str | None,
        typer.Option(
            metavar="N/s", rich_help_panel=_LIMITS, show_default=False,
            help="Requests that a client may send; more get 429.",
        ),
    ] = None,
    drain: Annotated[
        str, typer.Option(metavar="TIME", rich_help_panel=_LIMITS, help="After a signal, for requests under way.")
    ] = "10s",
    drift_window: Annotated[
        int, typer.Option(min=50, metavar="ROWS", rich_help_panel=_LIMITS, help="Rows of a window of /drift.")
    ] = 2000,
    thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="LEVELS", show_default=False,
            help="Probabilities, or recall:0.99, fpr:0.001, cost:10. Default: investigate=0.3,alert=0.5,block=0.7.",
        ),
    ] = None,
    keys: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", rich_help_panel=_CARDS, show_default=False,
            help="Cards kept; the longest unused go first. Default: what half the memory holds, at most 100,000.",
        ),
    ] = None,
    key_ttl: Annotated[
        str, typer.Option(metavar="TIME", rich_help_panel=_CARDS, help="Forget a card that was not used for so long.")
    ] = "30d",
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_CARDS, show_default=False,
            help="Keep the cards there when it has drained, and in a log next to it; take them over at the next start.",
        ),
    ] = None,
    fsync: Annotated[
        bool,
        typer.Option(
            "--fsync", rich_help_panel=_CARDS,
            help="With --state: wait for the disk before an answer, so that cards outlive a crash of the machine.",
        ),
    ] = False,
    as_published: Annotated[
        bool, typer.Option("--as-published", rich_help_panel=_CARDS, help="The document's defects of time and date.")
    ] = False,
    save: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the bundle of a workload is kept, and looked for.")
    ] = Path("results/bundles"),
    *,
    own: own_data.Given,
    data: DataDir = None,
    synthetic: Synthetic = False,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Say what is served as JSON, as in a pipe.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Answer one request of each kind, and end.")] = False,
) -> None:  # fmt: skip
    """Serve a saved model over HTTP, pinned to cores of one node, its memory bound there.

    Routes: the documents' POST /predict, for cards also /predict_stream; the Open Inference Protocol under /v2;
    /health, /metrics and /drift, and a page at /.

    Example: `lparbench serve nsl-kdd-autoencoder --port 8000`
    """
    from harness.record.spec import RunSpec
    from harness.reporting.progress import progress_for
    from harness.runs.bundles import bundle_of
    from harness.serving.levels import targets
    from harness.serving.spec import LOOPBACK, ServeSpec
    from harness.serving.start import placements, refuse_files, start

    allow(trust)
    if api not in ("documents", "v2", "both"):
        raise InputError(f"--api is {api!r}.", remedy="Expected: documents, v2 or both.")
    if front not in ("lean", "asgi"):
        raise InputError(f"--front is {front!r}.", remedy="Expected: lean or asgi.")
    if front == "asgi" and find_spec("uvicorn") is None:
        raise InputError("--front asgi needs FastAPI and uvicorn.", remedy="pip install 'lparbench[serve]'")
    if (tls_cert is None) != (tls_key is None):
        raise InputError("--tls-cert and --tls-key go together.", remedy="Give both, or neither.")
    if fsync and state is None:
        raise InputError("--fsync is of the log of cards.", remedy="Give --state FILE too.")
    if host not in LOOPBACK and not insecure and token_file is None and tls_cert is None:
        raise InputError(
            f"--host {host} is open to others.",
            remedy="Give --token-file or --tls-cert, or --insecure to listen without either.",
        )
    nodes: list[int | None] = [*node] if node else [None]
    if len(set(nodes)) < len(nodes):
        raise InputError(f"--nodes {nodes[0]} is given twice.", remedy="Give each node once.")
    deadline_s, drain_s = seconds("--deadline", deadline), seconds("--drain", drain)
    key_ttl_s, quota_per_s = seconds("--key-ttl", key_ttl), None if quota is None else per_second("--quota", quota)
    if thresholds is not None:
        targets(thresholds)
    chosen = placements(cores, threads_per_core, nodes)  # before anything is trained
    spec = ServeSpec(
        bundle="",  # until it is there
        host=host,
        port=port,
        apis=("documents", "v2") if api == "both" else ("documents",) if api == "documents" else ("v2",),
        front="asgi" if front == "asgi" else "lean",
        backend=backend,
        threads=cores * threads_per_core,
        fronts=fronts,
        queue_rows=queue,
        deadline_s=deadline_s,
        max_body=max_body,
        drain_s=drain_s,
        drift_window=drift_window,
        keys=keys,
        key_ttl_s=key_ttl_s,
        state=None if state is None else os.path.realpath(state),  # which is renamed, and no link to it
        fsync=fsync,
        as_published=as_published,
        thresholds=thresholds,
        quota_per_s=quota_per_s,
        token_file=None if token_file is None else str(token_file),
        tls_cert=None if tls_cert is None else str(tls_cert),
        tls_key=None if tls_key is None else str(tls_key),
        check=check,
        as_json=as_json,
    )
    refuse_files(spec)
    source = None if data is None else str(data.resolve())
    asked = RunSpec((model,), protocol=parse_source(data, "clean"), data_dir=source, synthetic=synthetic)
    with progress_for(quiet=False) as progress:
        bundle = bundle_of(own.of(asked), save, progress)
    start(replace(spec, bundle=str(bundle)), chosen)
