"""The page in a real browser: no sideways scrolling on a phone, legible in light and dark, silent on the network."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.bundles import saved
from support.fleets import fleet_record
from support.fronts import started
from support.loads import load_record
from support.mutations import small_run, stepped_runs
from support.records import counted, dataset, facts, inference, placement, run, workload_results
from support.serving import busy_page, routes_page
from support.sizes import sized_record
from support.sweeps import power_sweep
from support.trees import build
from support.trees_presets import PRESETS

from harness.advice.engine import evaluate
from harness.api import compare_runs
from harness.compare.history import history
from harness.fleet.compare import FleetChange, compare_fleets
from harness.platform.probe import probe
from harness.platform.sysroot import SysRoot
from harness.record.archive import opened
from harness.record.model import Run, Validity, Verdict
from harness.record.store import fleet_text, write_run
from harness.reporting.comparison_html import render_comparison
from harness.reporting.doctor_html import render_findings
from harness.reporting.fleet_change_html import render_change
from harness.reporting.fleet_html import render_fleet
from harness.reporting.history_html import render_history
from harness.reporting.html import render
from harness.reporting.load_html import render_load
from harness.reporting.site import site_of
from harness.reporting.size_html import render_size
from harness.reporting.sweep_html import render_sweep
from harness.serving.model import ServedModel

selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
# One of each at least.
_KINDS = (
    "plain", "counted", "refused", "hostile", "sweep", "comparison", "three", "history", "size", "load", "fleet",
    "fleet change", "site", "partition", "doctor",
)  # fmt: skip
_PAGES = (
    "plain",
    "counted",
    "wide",
    "hostile",
    "refused",
    "sweep",
    "hostile sweep",
    "serve",
    "hostile serve",
    "routes",
    "hostile routes",
    "hostile load",
    "hostile fleet",
)
_LONG = "a-workload-whose-name-has-no-end-and-no-place-to-break-" * 4

# For every element with text of its own: its colour against the first opaque background behind it, as WCAG has it.
_LOW_CONTRAST = """
const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
const shine = rgb => rgb.slice(0, 3).map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const blend = (top, under) => [0, 1, 2].map(i => top[i] * (top[3] ?? 1) + under[i] * (1 - (top[3] ?? 1)));
const behind = element => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, layer) => layer.length ? blend(layer, under) : under, [255, 255, 255]);
};
const found = [];
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  if (!own || ['title', 'desc', 'style'].includes(e.tagName) || !e.getClientRects().length) continue;
  const style = getComputedStyle(e), svg = e instanceof SVGElement;
  let ground = behind(svg ? e.closest('svg').parentElement : e);
  const cell = svg && e.parentNode.querySelector('path.' + (e.classList[0] ?? 'none'));
  if (cell && !e.classList.contains('offline')) ground = parse(getComputedStyle(cell).fill);
  const [a, b] = [shine(parse(svg ? style.fill : style.color)), shine(ground)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push([e.tagName, e.textContent.trim().slice(0, 40), ratio.toFixed(2)]);
}
return found;
"""

_OVERLAPS = """
const found = [];
for (const svg of document.querySelectorAll('svg.chart')) {
  const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  for (const [i, [a, p]] of boxes.entries()) for (const [b, q] of boxes.slice(i + 1)) {
    const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (w > 1 && h > 3) found.push([svg.querySelector('title').textContent, a, b]);
  }
}
return found;
"""


# Text of a chart that a band, a bar or a rule runs through; cells of a map hold theirs, and grid lines are faint.
_CROSSED = """
const found = [];
for (const svg of document.querySelectorAll('svg.chart')) {
  if (!svg.getClientRects().length) continue;
  const marks = [...svg.querySelectorAll('path, use')].filter(e => !e.closest('defs, clipPath')
    && !/--grid|--paper/.test(e.getAttribute('style') ?? '')
    && !(/stroke:var\\(--(ink|muted)\\)/.test(e.getAttribute('style') ?? '') && e.getBoundingClientRect().width > 20));
  const boxes = marks.map(e => e.getBoundingClientRect()).filter(b => b.width < 12 || b.height < 12);
  const bands = [...svg.querySelectorAll('path, use')].filter(e => /--band/.test(e.getAttribute('style') ?? '')
    || /--band/.test(e.parentNode.getAttribute('style') ?? '')).map(e => e.getBoundingClientRect());
  for (const t of svg.querySelectorAll('text')) {
    const p = t.getBoundingClientRect();
    for (const q of [...boxes, ...bands]) {
      const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (w > 1 && h > 3.5) found.push([svg.querySelector('title').textContent, t.textContent, [q.width, q.height]]);
    }
  }
}
return found;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with chromedriver on the PATH")
    options = Options()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    window = selenium.Chrome(options=options, service=Service(driver))
    yield window
    window.quit()


def _records() -> dict[str, Run]:
    failed = Validity(Verdict.INVALID, ("CPU 12 was sampled and is not among the CPUs asked for. " * 3,))
    wide = facts(nodes=16, cores_per_node=15, online_smt=4)
    spread = placement(cpus=tuple(wide.topology.cpus_online[::2]), nodes=tuple(range(16)))
    synthetic = dataset(origin="synthetic")
    return {
        "plain": run(*workload_results(), *workload_results("nsl-kdd-mlp")),
        "wide": run(inference(placement=spread), facts=wide),
        "hostile": run(inference(_LONG, title=None, backend=_LONG, dataset=synthetic, validity=failed)),
        "counted": run(*counted(*workload_results())),
        "refused": run(*(replace(r, validity=Validity(Verdict.TIMINGS_REFUSED)) for r in workload_results())),
    }


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    rendered = {name: render(record) for name, record in _records().items()}
    rendered["comparison"] = render_comparison(compare_runs(run(inference(_LONG)), run(inference(_LONG), run_id="2")))
    rendered["sweep"] = render_sweep(power_sweep())
    rendered["hostile sweep"] = render_sweep(power_sweep(_LONG, _LONG))
    rendered["three"] = render_comparison(compare_runs(run(), run(run_id="2"), run(run_id="3")))
    rendered["history"] = render_history(history(stepped_runs()))
    rendered["size"] = render_size(sized_record(folder))
    rendered["load"] = render_load(load_record())
    rendered["hostile load"] = render_load(load_record(_LONG))
    rendered["serve"] = busy_page(folder / "served")
    hostile = f"<script>document.title='run'</script>{_LONG}"
    rendered["hostile serve"] = busy_page(folder / "hostile", hostile)
    rendered["routes"] = routes_page(folder / "routes")
    rendered["hostile routes"] = routes_page(folder / "hostile routes", hostile)
    rendered["fleet"] = render_fleet(fleet_record())
    rendered["hostile fleet"] = render_fleet(fleet_record(_LONG))
    rendered["doctor"] = _doctor(folder)
    rendered["fleet change"] = render_change(_fleet_change(folder))
    found.update(_site(folder / "site"))
    for name, page in rendered.items():
        path = folder / f"{name}.html"
        path.write_bytes(page)
        found[name] = path.as_uri()
    return found


def _doctor(folder: Path) -> bytes:
    """A shared partition with findings of every severity, alternatives and steps."""
    facts = probe(SysRoot(build(PRESETS["p10-shared"], folder / "doctor")))
    return render_findings(facts, evaluate(facts))


def _fleet_change(folder: Path) -> FleetChange:
    sides = [fleet_record(), fleet_record(seed=3)]
    for name, fleet in zip(("before", "after"), sides, strict=True):
        (folder / name).mkdir()
        (folder / name / "fleet.json").write_text(fleet_text(fleet), encoding="utf-8")
    return compare_fleets(folder / "before", folder / "after", 0.03)


def _site(folder: Path) -> dict[str, str]:
    """Pages of an archive of two partitions, of which the first became slower: the index and that partition's."""
    for number in (1, 2):
        for index in range(12):
            slowdown = 1.15 if number == 1 and index >= 6 else 1.0
            base = small_run(f"run-{number}-{index:02d}", seed=index, slowdown=slowdown)
            lpar = replace(base.facts.lpar, partition_id=number, partition_name=f"lpar{number:02d}")
            record = replace(base, facts=replace(base.facts, lpar=lpar), created=f"2026-08-{index + 1:02d}T12:00:00Z")
            write_run(record, folder / "records")
    (folder / "fleet").mkdir()
    (folder / "fleet" / "fleet.json").write_text(fleet_text(fleet_record(hosts=8, waves=2)), encoding="utf-8")
    with opened(str(folder / "team.sqlite"), new=True) as store:
        store.add([folder / "records", folder / "fleet"])
        site = site_of(store, margin=0.03)
    for name, page in site.items():
        (folder / name).write_bytes(page)
    first = next(name for name in sorted(site) if name.startswith("partition-"))
    return {"site": (folder / "index.html").as_uri(), "partition": (folder / first).as_uri()}


def _open(browser: Any, page: str, *, width: int, scheme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(page)


_CLIPPED = (
    "return [...document.querySelectorAll(arguments[0])].filter(e => e.getClientRects().length"
    " && e.scrollWidth > e.clientWidth + 1)"
    ".map(e => (e.ariaLabel || e.outerHTML).slice(0, 80) + ' ' + e.scrollWidth + ' > ' + e.clientWidth)"
)
_BEYOND = (
    "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg')"
    " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
)


@pytest.mark.parametrize("width", [360, 390, 1280, 1600])
@pytest.mark.parametrize("name", dict.fromkeys([*_PAGES, *_KINDS]))
def test_no_table_and_no_text_is_clipped(browser: Any, pages: dict[str, str], name: str, width: int) -> None:
    """Nothing scrolls sideways, on a phone neither: rows of details are blocks there."""
    _open(browser, pages[name], width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(_BEYOND) == []
    assert browser.execute_script(_CLIPPED, "td, th, pre") == []
    # On a phone a name without an end may make a table that decides scroll: the name is cut then, not a number.
    hostile = width < 1280 and "hostile" in name
    assert browser.execute_script(_CLIPPED, ".scroll:not(:has(> table.main))" if hostile else ".scroll") == []


@pytest.mark.parametrize("name", _KINDS)
def test_paper_loses_no_column(browser: Any, pages: dict[str, str], name: str) -> None:
    """A4 with the margins of the style sheet is 688 pixels wide."""
    _open(browser, pages[name], width=688)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 688
        assert browser.execute_script(_CLIPPED, "td, th, pre, .scroll") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


# Of each page of a PDF: the words, and how far to the right the last of them ends.
def _right_edge(words: list[Any]) -> float:
    return max((float(word.get("xMax")) for word in words), default=0.0)


@pytest.mark.parametrize("name", ["plain", "counted", "refused", "sweep", "three", "history", "size", "serve"])
def test_a_printed_page_holds_every_cell_within_its_margins(
    browser: Any, pages: dict[str, str], name: str, tmp_path: Path
) -> None:
    """The PDF that the browser writes, read back by poppler: nothing is cut off, nothing is beyond the paper."""
    pdftotext = shutil.which("pdftotext")
    if pdftotext is None:
        pytest.skip("poppler's pdftotext is not on the PATH")
    _open(browser, pages[name], width=1240)
    cells = browser.execute_script(
        "document.querySelectorAll('details:not(.raw)').forEach(d => d.open = true);"
        "return [...document.querySelectorAll('table:not(details.raw table) :is(th, td)')]"
        ".filter(e => e.getClientRects().length).map(e => e.innerText).filter(t => t.trim())"
    )
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    path = tmp_path / "page.pdf"
    path.write_bytes(base64.b64decode(printed["data"]))
    laid_out = subprocess.run([pdftotext, "-bbox", str(path), "-"], capture_output=True, check=True).stdout
    sheets = ElementTree.fromstring(laid_out).findall(".//{*}page")
    assert sheets
    words = [sheet.findall("{*}word") for sheet in sheets]
    for sheet, of_sheet in zip(sheets, words, strict=True):
        assert _right_edge(of_sheet) <= float(sheet.get("width", "0")) - 20
    there = {word.text or "" for of_sheet in words for word in of_sheet}
    text = "".join(word.text or "" for of_sheet in words for word in of_sheet)
    wanted = {part for cell in cells for part in cell.replace("\u00a0", " ").split()}
    assert {part for part in wanted - there if part not in text} == set()


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("plain", ("Scenario", "Validity", "rows/s", "p99")),
        ("sweep", ("Setting", "Validity", "rows/s", "Against the best")),
        ("three", ("20260801T120000Z-3f2a", "Change", "Verdict")),
    ],
)
def test_a_phone_shows_what_decides(browser: Any, pages: dict[str, str], name: str, heads: tuple[str, ...]) -> None:
    _open(browser, pages[name], width=390)
    seen = browser.execute_script(
        "const table = document.querySelector('table.main');"
        "return [...table.tHead.rows[0].cells].filter(c => c.getClientRects().length"
        " && c.getBoundingClientRect().right <= innerWidth).map(c => c.firstChild.data.trim())"
    )
    assert set(heads) <= set(seen)


@pytest.mark.parametrize("name", ["plain", "size"])
def test_details_on_a_phone_say_what_each_value_is(browser: Any, pages: dict[str, str], name: str) -> None:
    _open(browser, pages[name], width=390)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    cells = browser.execute_script(
        "return [...document.querySelectorAll('table.stack td:not([colspan])')]"
        ".map(e => [getComputedStyle(e, '::before').content, e.getBoundingClientRect().right <= innerWidth])"
    )
    assert len(cells) > 10
    assert [cell for cell in cells if cell[0] in ("none", '""') or not cell[1]] == []
    if name == "plain":
        assert {'"Verdict"', '"Undisturbed"', '"Peak memory"'} <= {head for head, _ in cells}


def test_figures_that_are_not_valid_are_not_the_largest_type(browser: Any, pages: dict[str, str]) -> None:
    _open(browser, pages["hostile"], width=1280)
    largest = browser.execute_script(
        "const size = e => parseFloat(getComputedStyle(e).fontSize);"
        "const all = [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(n => n.nodeType === 3"
        " && n.data.trim()) && e.getClientRects().length && !(e instanceof SVGElement));"
        "const most = Math.max(...all.map(size)); return all.filter(e => size(e) === most).map(e => e.textContent)"
    )
    assert largest
    assert not any("rows/s" in text for text in largest)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name", ["plain", "hostile", "sweep", "comparison", "history", "size", "serve", "routes", "load", "fleet", "site",
     "doctor"],
)  # fmt: skip
def test_every_text_stands_out_from_its_background(browser: Any, pages: dict[str, str], name: str, scheme: str) -> None:
    _open(browser, pages[name], width=1240, scheme=scheme)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in ground[4:-1].split(",")) < 200) == (scheme == "dark")
    assert browser.execute_script(_LOW_CONTRAST) == []


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    "name", ["plain", "sweep", "comparison", "three", "history", "size", "serve", "load", "fleet", "partition"]
)
def test_labels_of_charts_run_into_nothing(browser: Any, pages: dict[str, str], name: str, width: int) -> None:
    _open(browser, pages[name], width=width)
    assert browser.execute_script(_OVERLAPS) == []
    assert browser.execute_script(_CROSSED) == []


@pytest.mark.parametrize("name", ["plain", "counted", "sweep", "three", "history", "size", "load", "fleet"])
def test_no_name_in_a_chart_is_cut(browser: Any, pages: dict[str, str], name: str) -> None:
    """What all rows have in common is said above: so there is room for what distinguishes them, on a phone too."""
    _open(browser, pages[name], width=390)
    texts = browser.execute_script("return [...document.querySelectorAll('svg.chart text')].map(e => e.textContent)")
    assert texts
    assert [text for text in texts if text.endswith("\u2026")] == []


@pytest.mark.parametrize("name", [*_KINDS, "serve", "routes"])
def test_every_column_has_a_head_and_a_figure(browser: Any, pages: dict[str, str], name: str) -> None:
    """No column without a name, and none that holds dashes alone."""
    _open(browser, pages[name], width=1280)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    empty = browser.execute_script(
        "return [...document.querySelectorAll('table')].filter(t => t.tHead && t.tBodies.length).flatMap(t => {"
        " const rows = [...t.tBodies].flatMap(b => [...b.rows])"
        "  .filter(r => r.cells.length === t.tHead.rows[0].cells.length);"
        " return [...t.tHead.rows[0].cells].filter((c, i) => c.getClientRects().length && (!c.innerText.trim()"
        " || rows.length > 1 && rows.every(r => ['–', ''].includes(r.cells[i].innerText.trim()))))"
        " .map(c => [t.closest('section')?.id, c.cellIndex, c.innerText]); })"
    )
    assert empty == []


def test_the_page_of_a_server_runs_nothing_that_it_shows(browser: Any, pages: dict[str, str]) -> None:
    _open(browser, pages["hostile serve"], width=1240)
    assert browser.title.startswith("<script>document.title=")
    assert browser.execute_script("return document.querySelectorAll('script').length") == 0
    assert browser.execute_script("return document.querySelectorAll('polyline').length") >= 8


def test_the_page_of_the_routes_lists_them_and_runs_nothing(browser: Any, pages: dict[str, str]) -> None:
    _open(browser, pages["hostile routes"], width=390)
    assert browser.title.startswith("<script>document.title=")
    listed = browser.execute_script(
        "return [...document.querySelectorAll('table tbody th code')].map(e => e.innerText)"
    )
    assert {"POST /predict", "GET /v2/health/live", "GET /metrics"} <= set(listed)
    assert sum("%3Cscript%3E" in each for each in listed) == 6  # as a client writes them
    assert browser.execute_script("return document.querySelectorAll('script, link[rel=stylesheet], img').length") == 0


def test_a_browser_asks_a_server_for_its_pages_and_no_other_host(browser: Any, tmp_path: Path) -> None:
    model = ServedModel.open(saved(tmp_path / "bundle", "autoencoder").directory, None, 1)

    async def play() -> list[str]:
        server, (host, port) = await started("asgi", model)
        browser.get_log("performance")
        for path in ("docs", ""):
            await asyncio.to_thread(browser.get, f"http://{host}:{port}/{path}")
            assert await asyncio.to_thread(browser.execute_script, "return document.querySelectorAll('h2').length") > 2
        sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        await asyncio.to_thread(browser.get, "about:blank")
        await server.drain(10.0)
        urls = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith((f"http://{host}:{port}/", "data:"))]

    assert asyncio.run(play()) == []


def test_the_page_asks_the_network_for_nothing(browser: Any, pages: dict[str, str]) -> None:
    browser.get_log("performance")
    _open(browser, pages["plain"], width=1240)
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [one["params"]["request"]["url"] for one in sent if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith("data:")] == [pages["plain"]]


def test_the_page_reads_the_same_with_scripts_off(browser: Any, pages: dict[str, str]) -> None:
    def text() -> str:
        evaluated = browser.execute_cdp_cmd("Runtime.evaluate", {"expression": "document.body.innerText"})
        return str(evaluated["result"]["value"])

    _open(browser, pages["plain"], width=1240)
    with_scripts = text()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(pages["plain"])
        assert text() == with_scripts
        for rate in ("4.68 M rows/s", "4.82 M rows/s"):  # counted, and undisturbed
            assert rate in with_scripts.replace("\u00a0", " ")
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_paper_shows_what_is_folded_but_the_raw_record(browser: Any, pages: dict[str, str]) -> None:
    _open(browser, pages["plain"], width=1000)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        shown = "return [...document.querySelectorAll(arguments[0])].map(e => e.checkVisibility())"
        assert set(browser.execute_script(shown, "details.raw")) == {False}
        assert set(browser.execute_script(shown, "nav")) == {False}
        assert True in browser.execute_script(shown, "table")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("name", ["plain", "sweep"])
def test_a_link_of_the_contents_reaches_its_section(browser: Any, pages: dict[str, str], name: str) -> None:
    _open(browser, pages[name], width=1240)
    missing = browser.execute_script(
        "return [...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).map(a => a.hash)"
    )
    assert missing == []


def test_the_pages_of_a_site_lead_to_each_other_and_name_what_became_slower(
    browser: Any, pages: dict[str, str]
) -> None:
    _open(browser, pages["site"], width=390)
    assert "slower on 1 of 2 partitions" in browser.execute_script("return document.body.innerText")
    links = browser.execute_script("return [...document.querySelectorAll('a')].map(a => a.href)")
    assert pages["partition"] in links
    assert len([link for link in links if "partition-" in link]) >= 2
    browser.get(pages["partition"])
    assert "15" in browser.execute_script("return document.body.innerText"), "the step, in per cent"
    assert browser.execute_script("return document.querySelectorAll('svg.chart').length") > 0
