"""Pages for people in a real Chromium, with JavaScript switched off: layout, keyboard, colours, and axe's judgement.

Screenshots of every page go to the folder WHEELSEAL_SHOTS, which tests/run sets, for people to look at.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from helpers.sealed import Sealed
from helpers.wheels import sdist, wheel
from helpers.wheelseal import Wheelseal, clean_environment, key

playwright = pytest.importorskip("playwright.sync_api", reason="playwright wants Python 3.10 or newer")
axe = pytest.importorskip("axe_playwright_python.base", reason="axe wants Python 3.10 or newer")

# What a yank says that would be markup, and would turn the text around.
REASON = "<b>breaks</b><script>document.title='x'</script> \u202eexe.txt & \"others\" " + "w" * 120
# As long as names may be, without a place to break.
LONG = "n" * 100
PAGES = {
    "health": "",
    "search": "project/",
    "not-a-name": "project/?name=--",
    "claimed": "project/sealed-box/",
    "long": f"project/{LONG}/",
    "part": "project/lighthouse/?page=2",
    "file": "project/sealed-box/sealed_box-2.0-py3-none-any.whl",
    "yanked": "project/sealed-box/sealed_box-1.1-py3-none-any.whl",
    "absent": "project/nothing/",
    "tree": "tree/",
    "log": "log/",
    "buckets": "tree/recently-claimed/",
    "bucket": "tree/recently-claimed-0000/",
    "ceremonies": "ceremony/",
    "ceremony": "ceremony/second-timestamp-key/",
}
STATUS = {"absent": 404, "not-a-name": 400}
WIDTHS = (1200, 768, 360, 320)
# Wheels of `lighthouse`: one more than a page shows.
MANY = 101


@dataclass
class World:
    """A server with something of everything, and a browser."""

    url: str
    browser: playwright.Browser

    def open(
        self, *, width: int = 1200, scheme: str = "light", motion: str = "no-preference", scripts: bool = False
    ) -> playwright.Page:
        """A window that runs no script of a page. What a test asks the browser itself is not a page's script, but waits for
        nothing: `scripts` is for who must wait."""
        context = self.browser.new_context(
            color_scheme=scheme,
            viewport={"width": width, "height": 800},
            reduced_motion=motion,
            java_script_enabled=scripts,
        )
        return context.new_page()


@pytest.fixture(scope="module")
def repository(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logged repository with claimed and other projects, yanks, a long list and a ceremony under way."""
    top = tmp_path_factory.mktemp("world")
    wheelseal = Wheelseal(binary, top / "home")
    roots = [key("root-1"), key("root-2"), key("root-3")]
    sealed = Sealed(wheelseal, top / "repo", root_keys=roots, thresholds=(2, 1, 1))
    sealed.init(bins=256)
    dists = top / "dists"
    files = [wheel(dists, "sealed-box", version, requires_python=">=3.9") for version in ("1.0", "1.1", "2.0")]
    files += [sdist(dists, "sealed-box", "2.0"), wheel(dists, LONG, "1.0")]
    files += [wheel(dists, "lighthouse", f"1.{number}") for number in range(MANY)]
    sealed.run("add", *files)
    sealed.run("yank", "sealed_box-1.1-py3-none-any.whl", "--reason", REASON)
    sealed.run("log", "init", "--origin", "packages.example.org/log", keys=[key("log"), key("targets-1")])
    sealed.run("claims", "enable", keys=[key("targets-1")])
    wheelseal("trust", "add", "index", sealed.folder, "--root", sealed.first_root)
    claim = top / "claim.json"
    maintainers = ("--key", key("ecdsa"), "--maintainer", key("root-3"))
    wheelseal("project", "claim", "sealed-box", *maintainers, "--out", claim)
    wheelseal("project", "cosign", claim, "--key", key("root-3"))
    sealed.run("claims", "apply", claim)
    event = "second-timestamp-key"
    sealed.run("ceremony", "start", event, "--add-key", f"timestamp={key('online-2')}")
    sealed.run("ceremony", "sign", event, "--key", key("root-1"), "--holder", "<i>Ann</i>", "--yes")
    return sealed.folder


@pytest.fixture(scope="module")
def world(binary: Path, repository: Path) -> Iterator[World]:
    """See `World`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("the program chromium is not installed")
    command = [str(binary), "serve", "--repo", str(repository), "--listen", "127.0.0.1:0", "--ceremonies"]
    env = {**clean_environment(), "XDG_STATE_HOME": str(repository.parent / "state")}
    server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    # Root may not use the sandbox; nothing but loopback is asked.
    arguments = ["--no-proxy-server", *(["--no-sandbox"] if os.getuid() == 0 else [])]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield World(url, browser)
        browser.close()
    server.send_signal(signal.SIGTERM)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out, err) == (0, "", ""), "no page failed"


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go."""
    named = os.environ.get("WHEELSEAL_SHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways_or_asks_for_anything_else(
    world: World, shots: Path, width: int, scheme: str
) -> None:
    """One request for each page; its width is that of the window; nothing is refused by the policy."""
    page = world.open(width=width, scheme=scheme)
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    for name, path in PAGES.items():
        asked.clear()
        answer = page.goto(world.url + path)
        assert answer is not None
        assert answer.status == STATUS.get(name, 200), name
        assert asked == [world.url + path], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("document.title") != "x", name
        page.screenshot(path=shots / f"{name}-{scheme}-{width}.png", full_page=True)
    refused = [text for text in said if "Failed to load resource" not in text]
    assert refused == [], "the browser takes offence at nothing"
    page.context.close()


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(world: World, width: int, scheme: str) -> None:
    """All rules of axe, best practices too. It computes contrast from the colours that were drawn."""
    page = world.open(width=width, scheme=scheme, scripts=True)
    for name, path in PAGES.items():
        page.goto(world.url + path)
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        page.evaluate(axe.AXE_SCRIPT)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete', 'passes']})")
        found = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in result["violations"]]
        assert found == [], name
        assert "color-contrast" in [rule["id"] for rule in result["passes"]], name
        unsure = [rule["id"] for rule in result["incomplete"]]
        assert "color-contrast" not in unsure, name
    page.context.close()


def test_axe_would_find_faint_words_and_a_picture_without_a_name(world: World) -> None:
    """The same page made worse: the judge is awake."""
    page = world.open(scripts=True)
    page.goto(world.url)
    page.evaluate("document.querySelector('.lead').style.color = '#aaa'")
    page.evaluate("document.querySelector('.lead').append(document.createElement('img'))")
    page.evaluate(axe.AXE_SCRIPT)
    found = {rule["id"] for rule in page.evaluate("axe.run()")["violations"]}
    assert found == {"color-contrast", "image-alt"}
    page.context.close()


def test_colours_follow_the_system(world: World) -> None:
    """Dark on light, or light on dark."""
    grounds = {}
    for scheme in ("light", "dark"):
        page = world.open(scheme=scheme)
        page.goto(world.url)
        root = "getComputedStyle(document.documentElement)"
        grounds[scheme] = page.evaluate(f"[{root}.backgroundColor, {root}.color]")
        page.context.close()
    assert grounds["light"] == ["rgb(255, 255, 255)", "rgb(27, 31, 36)"]
    assert grounds["dark"] == ["rgb(19, 22, 25)", "rgb(231, 233, 236)"]


def test_nothing_moves_for_who_does_not_want_it(world: World) -> None:
    """`prefers-reduced-motion`."""
    for motion, seconds in (("reduce", "0s"), ("no-preference", "0.1s")):
        page = world.open(motion=motion)
        page.goto(world.url)
        moves = "getComputedStyle(document.querySelector('nav a')).transitionDuration"
        assert page.evaluate(moves).split(",")[0] == seconds
        page.context.close()


def test_the_keyboard_reaches_everything_in_the_order_of_the_page(world: World) -> None:
    """The skip link first; each stop is seen; details open; the search leads to the project."""
    page = world.open()
    page.goto(world.url + "project/sealed-box/")
    stops = []
    for _ in range(13):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.innerText || e.name, s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        assert stop[1:] == ["solid", 3], stop
        stops.append(stop[0])
    before = ["Skip to the content", "Health", "Projects", "Delegations", "Log", "Ceremonies", "name", "Find"]
    assert stops[:8] == before
    assert stops[8:10] == ["sealed_box-2.0.tar.gz", "sealed_box-2.0-py3-none-any.whl"]
    assert stops[-1].startswith("Keys "), "the keys of root, to be opened"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open") is True

    page.goto(world.url + "project/sealed-box/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "sealed_box-2.0.tar.gz"

    page.goto(world.url)
    page.get_by_role("searchbox").fill("Sealed.BOX")
    page.keyboard.press("Enter")
    page.wait_for_url(world.url + "project/sealed-box/")
    page.context.close()


@pytest.mark.parametrize("width", [1200, 360])
def test_screen_readers_are_told_what_is_what(world: World, width: int) -> None:
    """Landmarks, headings in order, tables that stay tables where rows are shown as blocks."""
    page = world.open(width=width)
    for name, path in PAGES.items():
        page.goto(world.url + path)
        assert page.evaluate("document.documentElement.lang") == "en"
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
        assert levels[0] == 1 and levels.count(1) == 1, name
        assert all(after - before <= 1 for before, after in zip(levels, levels[1:])), name
        for landmark in ("banner", "main", "contentinfo"):
            assert page.get_by_role(landmark).count() == 1, (name, landmark)
        for table in page.get_by_role("table").all():
            assert table.evaluate("t => t.caption.innerText.length") > 0, name
            columns = table.evaluate("t => t.querySelectorAll('th[scope=col]').length")
            cells = table.evaluate("t => [...t.tBodies[0].rows].map(row => row.cells.length)")
            assert set(cells) == {columns}, name
            assert table.get_by_role("rowheader").count() == len(cells), name
            assert table.get_by_role("columnheader").count() == columns, name
    page.goto(world.url + PAGES["not-a-name"])
    why = page.evaluate(
        "document.getElementById(document.querySelector('input').getAttribute('aria-describedby')).innerText"
    )
    assert why.startswith("✕ That is no project name")
    page.goto(world.url)
    roles = [row.text_content() for row in page.get_by_role("table").first.get_by_role("rowheader").all()]
    assert roles == ["root", "timestamp", "snapshot", "targets", "claimed", "recently-claimed", "bins"]
    page.context.close()


def test_every_link_leads_somewhere(world: World) -> None:
    """From the first page to all that can be reached, below whatever folder the pages lie in."""
    page = world.open()
    seen: set[str] = set()
    waiting = [world.url]
    while waiting:
        url = waiting.pop().split("#")[0]
        if url in seen:
            continue
        seen.add(url)
        if url.startswith(world.url + "targets/"):
            # Files, which a browser would save.
            assert page.request.get(url).status == 200, url
            continue
        answer = page.goto(url)
        assert answer is not None and answer.status == 200, url
        for href in page.evaluate("[...document.links].map(link => link.getAttribute('href'))"):
            parts = urlsplit(href)
            assert (parts.scheme, parts.netloc) == ("", "") and not href.startswith("/"), href
            waiting.append(urljoin(url, href))
    named = ("health", "search", "tree", "log", "buckets", "bucket", "ceremony")
    expected = {world.url + PAGES[name] for name in named}
    proof = "targets/sealed-box/sealed_box-2.0-py3-none-any.whl.tlog-proof"
    expected |= {world.url + proof, world.url + "targets/tlog-policy"}
    assert expected <= seen
    page.context.close()
