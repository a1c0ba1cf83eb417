"""Takes a picture of every page of the site, wide and narrow, light and dark.

    mkdocs build --site-dir site
    python docs/look.py site pictures

It needs Chromium and its `chromedriver`, and no package. It tells which pages are wider
than the window, have pictures that do not load, and what the search does not find.
"""

import base64
import contextlib
import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTHS = (1280, 400)
SCHEMES = ("light", "dark")
SEARCHED = (
    "TensorBoard",
    "quantize",
    "ModelCheckpoint",
    "early stopping",
    "transformer",
)
# Pictures of longer pages are cut.
LONGEST = 12_000

PROBLEMS = """
const wide = [...document.querySelectorAll('.md-content *')].filter(e => {
  const box = e.getBoundingClientRect();
  if (box.right <= innerWidth + 1 || box.width === 0) return false;
  for (let p = e; p; p = p.parentElement)
    if (getComputedStyle(p).overflowX !== 'visible') return false;
  return true;
});
const broken = [...document.images].filter(i => i.complete && !i.naturalWidth);
return [
  ...wide.slice(0, 3).map(e => 'too wide: ' + e.outerHTML.slice(0, 100)),
  ...broken.map(i => 'does not load: ' + i.src),
];
"""


class Browser:
    """A headless Chromium, told what to do by the WebDriver protocol."""

    def __init__(self, port: int):
        self.url = f"http://127.0.0.1:{port}"
        options = {"args": ["--headless=new", "--no-sandbox", "--hide-scrollbars"]}
        asked = {"browserName": "chrome", "goog:chromeOptions": options}
        session = self.send("/session", capabilities={"alwaysMatch": asked})
        self.url += f"/session/{session['sessionId']}"

    def send(self, path: str, method: str = "POST", **content: Any) -> Any:
        """Send a command, and return its answer."""
        request = urllib.request.Request(
            self.url + path,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:
        """Run JavaScript in the page."""
        return self.send("/execute/sync", script=script, args=[])

    def control(self, command: str, **parameters: Any) -> Any:
        """Send a command of Chrome's own protocol."""
        return self.send("/goog/cdp/execute", cmd=command, params=parameters)

    def look(self, address: str, width: int, scheme: str) -> tuple[bytes, list[str]]:
        """Return a picture of a page, and what is wrong with it."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.control("Emulation.setEmulatedMedia", features=[feature])
        self.resize(width, 900)
        self.send("/url", url=address)
        # The page would stay as the last one was, light or dark.
        self.run("localStorage.clear()")
        self.send("/url", url=address)
        problems = self.run(PROBLEMS)
        height = self.run("return document.documentElement.scrollHeight")
        self.resize(width, min(height, LONGEST))
        picture = self.control("Page.captureScreenshot", format="png")
        return base64.b64decode(picture["data"]), problems

    def resize(self, width: int, height: int) -> None:
        """Give the window a size."""
        self.control(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def found(self, address: str, words: str) -> int:
        """Return how many pages the search finds."""
        self.send("/url", url=address)
        self.run(
            "const box = document.querySelector('[data-md-component=search-query]');"
            "document.querySelector('#__search').click(); box.focus();"
            f"box.value = {json.dumps(words)};"
            "box.dispatchEvent(new Event('keyup', {bubbles: true}));"
            "box.dispatchEvent(new Event('input', {bubbles: true}));"
        )
        for _ in range(40):
            time.sleep(0.25)
            count = self.run(
                "return document.querySelectorAll('.md-search-result__item').length"
            )
            if count:
                return count
        return 0


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def browser(port: int = 9517) -> Iterator[Browser]:
    """Start a browser, and end it."""
    program = shutil.which("chromedriver")
    if program is None:
        sys.exit("There is no chromedriver: install Chromium and its driver.")
    driver = subprocess.Popen([program, f"--port={port}", "--log-level=OFF"])
    try:
        for _ in range(50):
            time.sleep(0.2)
            with contextlib.suppress(urllib.error.URLError):
                chromium = Browser(port)
                break
        else:
            sys.exit("chromedriver does not answer.")
        try:
            yield chromium
        finally:
            chromium.send("", method="DELETE")
    finally:
        driver.terminate()
        driver.wait()


def main(site: Path, pictures: Path, only: str = "") -> int:
    """Take the pictures, and return how many problems there are."""
    count = 0
    pages = [page.relative_to(site) for page in sorted(site.rglob("*.html"))]
    with served(site) as address, browser() as chromium:
        for page in pages:
            if only not in str(page):
                continue
            for width in WIDTHS:
                for scheme in SCHEMES:
                    name = f"{page.with_suffix('')}-{width}-{scheme}.png"
                    target = pictures / name.replace("/", "-")
                    picture, wrong = chromium.look(f"{address}/{page}", width, scheme)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(picture)
                    count += len(wrong)
                    for problem in wrong:
                        print(f"{target.name}: {problem}")
        for words in SEARCHED:
            found = chromium.found(f"{address}/index.html", words)
            print(f"search for {words!r}: {found} pages")
            count += not found
    return count


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3]), *sys.argv[3:4]) > 0)
