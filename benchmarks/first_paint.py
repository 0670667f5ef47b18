"""How soon Chromium paints each page first, and how much a page with all its scripts weighs.

`python benchmarks/first_paint.py [HOME] [--loads 20]` starts `stock-llm serve` on a project folder (by default the sample) and opens each
page with an empty cache. Milliseconds from the start of the navigation to the first paint, as the browser tells them (Paint Timing), and
bytes of the page, its scripts and styles as they went over loopback. Needs playwright (extra `dev`) and a Chromium on the PATH.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from gateway import _free_port, running

PAGES = ("/", "/pages/portfolio", "/pages/model", "/pages/kpis")
PAINT = "new Promise(done => { const look = () => { const [paint] = performance.getEntriesByType('paint'); paint ? done(paint.startTime) : setTimeout(look, 5) }; look() })"
SIZE = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource').filter(each => ['script', 'link', 'img'].includes(each.initiatorType))].reduce((sum, each) => sum + each.encodedBodySize, 0)"
HTML = "performance.getEntriesByType('navigation')[0].responseEnd"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("home", type=Path, nargs="?", help="default: the sample, in a new folder")
    parser.add_argument("--loads", type=int, default=20, help="of each page")
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print("playwright is not installed: pip install -e '.[dev]'")
        return
    if chromium is None:
        print("there is no Chromium on the PATH: apt install chromium")
        return
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = "from stock_llm.cli.main import main; main()"
    serve = [sys.executable, "-c", command, "serve", "--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        home = given.home or Path(folder) / "home"
        if not given.home:
            sample = Path(__file__).parents[1] / "data" / "sample"
            shutil.copytree(sample, home / "data" / "sample")
        dials = {
            "STOCK_LLM_HOME": str(home),
            "STOCK_LLM_SECRETS": f"{folder}/secrets",
            "STOCK_LLM_OLLAMA_HOST": "",
        }
        with running(serve, f"{url}/healthz", **dials), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            print("| page | first paint, median | 95 % | HTML there | page, scripts, styles |\n|---|---|---|---|---|")  # fmt: skip
            for path in PAGES:
                measure(browser, f"{url}{path}", 3)  # what is imported and rendered at first
                paints, sizes, html = measure(browser, f"{url}{path}", given.loads)
                late = sorted(paints)[int(0.95 * (len(paints) - 1))]
                print(f"| {path} | {median(paints):.0f} ms | {late:.0f} ms | {median(html):.0f} ms | {max(sizes) / 1000:.0f} KB |", flush=True)  # fmt: skip
            browser.close()


def measure(browser, url: str, loads: int) -> tuple[list[float], list[int], list[float]]:
    """Milliseconds to the first paint, bytes, and milliseconds to the end of the HTML of each load."""
    paints, sizes, html = [], [], []
    for _ in range(loads):
        context = browser.new_context()
        page = context.new_page()
        page.goto(url, wait_until="load")
        paints.append(page.evaluate(PAINT))
        sizes.append(page.evaluate(SIZE))
        html.append(page.evaluate(HTML))
        context.close()
    return paints, sizes, html


if __name__ == "__main__":
    main()
