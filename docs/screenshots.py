"""Take the pictures in docs/pages: each page of highlight-local, light and dark, after somebody was at the demo's shop.

    python3 docs/screenshots.py

runs the demo of `examples/demo.py`, in its environment.
"""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "examples")]

import demo  # noqa: E402 - found by the line above
import environment  # noqa: E402 - found by the line above

PICTURES = ROOT / "docs" / "pages"
SIZE = {"width": 1280, "height": 800}
MOST_BYTES = 300_000  # of one of them
REPLAYED = ("error", "session")
# What each page has once it is whole.
INSIDE = {
    "errors": "KeyError",
    "group": "Open the newest",
    "error": "Traceback",
    "sessions": "/?visitor=",
    "session": "4 log records",
    "traces": "documentLoad",
    "trace": "Attributes",
    "logs": "looking for item 13",
}
ORDERS = 3  # of each kind, so that there is something to see


def main() -> None:
    environment.enter(ROOT / ".venv-demo", [*demo.PACKAGES, "playwright"], extras="local", node=True)
    demo.install_chromium()
    shutil.rmtree(demo.FOLDER, ignore_errors=True)
    demo.run(demo.FOLDER, print, take)


def take(local, page_url: str, say) -> None:
    """Have somebody order, and take a picture of each page that is about it."""
    from tests.support import chromium
    from tests.support.services import wait_until
    from tests.support.visitor import LAMP, MISSING, Visitor

    with chromium.running() as browser:
        visitor = Visitor(browser, page_url, local)
        say(f"at the shop is session {visitor.session}")
        for name in [LAMP, MISSING] * ORDERS:
            visitor.order(name)
        wait_until(lambda: len(visitor.orders) == 2 * ORDERS, what="for the orders")
        wait_until(lambda: begun_by_the_page(local, visitor.orders[-1]), what="for the page's spans")
        visitor.close()
        PICTURES.mkdir(exist_ok=True)
        for name, path in pages(local, visitor).items():
            for scheme in ("light", "dark"):
                file = PICTURES / f"{name}-{scheme}.png"
                photograph(browser, f"{local.url}/{path}", name, scheme, file)
                say(f"{file.relative_to(ROOT)}  {file.stat().st_size // 1000} kB")


def begun_by_the_page(local, order) -> bool:
    return any(local.api(f"traces/{trace}")["service"] == "page" for trace in order["traces"])


def pages(local, visitor) -> dict[str, str]:
    """Where each page is, by the name of its picture."""
    failed = visitor.orders[-1]
    (group,) = [one for one in local.api("errors")["items"] if one["type"] == "KeyError"]
    return {
        "errors": "errors",
        "group": f"errors/{group['id']}",
        "error": f"error/{group['latest']}",
        "sessions": "sessions",
        "session": f"sessions/{visitor.session}?at={round(failed['start'])}",
        "traces": "traces",
        "trace": f"traces/{failed['traces'][0]}",
        "logs": "logs",
    }


def photograph(browser, url: str, name: str, scheme: str, file: Path) -> None:
    context = browser.new_context(viewport=SIZE, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.get_by_text(INSIDE[name]).first.wait_for()
    if name in REPLAYED:
        page.get_by_role("button", name="Play", disabled=False).wait_for()
    page.screenshot(path=file)
    context.close()
    if file.stat().st_size > MOST_BYTES:
        sys.exit(f"{file} is larger than {MOST_BYTES} bytes")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
