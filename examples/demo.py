"""A shop with a page: what goes wrong behind it is seen beside the session of whoever it happened to.

    python3 examples/demo.py             starts it, prints where its page and the viewer are, and runs until Ctrl-C
    python3 examples/demo.py --headless  clicks in a browser without a window, prints what the viewer has, and ends

It sets up a virtual environment of its own (.venv-demo, with Node in it where there is none), builds the page with
Highlight's browser client in it, and starts highlight-local, and a Flask and a FastAPI service under highlight-run.
No request leaves the machine.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "examples")]

import environment  # noqa: E402 - found by the line above
import viewed  # noqa: E402 - found by the line above

FOLDER = ROOT / ".venv-demo" / "demo"
PACKAGES = ["flask", "flask-cors", "requests", "fastapi", "uvicorn"]


def main() -> None:
    arguments = sys.argv[1:]
    headless = arguments == ["--headless"]
    if arguments and not headless:
        sys.exit("usage: python3 examples/demo.py [--headless]")
    packages = [*PACKAGES, "playwright"] if headless else PACKAGES
    environment.enter(ROOT / ".venv-demo", packages, extras="local", node=True)
    if headless:
        install_chromium()
    shutil.rmtree(FOLDER, ignore_errors=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started ends as well
    run(FOLDER, print, click_and_show if headless else wait_for_the_end)


def run(folder: Path, say, use) -> None:
    """Start everything, and have it used: by `use(local, page_url, say)`."""
    from tests.support import npm, shop
    from tests.support.local import Local

    say("building the page ...")
    pages = {"shop": npm.built(shop.PAGE)}
    local = Local(folder / "local")
    try:
        with shop.running(folder, local.url, pages, say) as services:
            use(local, services.pages["shop"].url, say)
    finally:
        local.kill()


def wait_for_the_end(local, page_url: str, say) -> None:
    say(f"\nthe shop:   {page_url}/\nthe viewer: {local.url}/\n\nCtrl-C ends it")
    threading.Event().wait()


def click_and_show(local, page_url: str, say) -> None:
    """What somebody would do at the page, and then see in the viewer."""
    from tests.support import chromium
    from tests.support.visitor import LAMP, MISSING, Visitor

    with chromium.running() as browser:
        visitor = Visitor(browser, page_url, local)
        say(f"\nsomebody has come, and their session is {visitor.session}")
        for name in (LAMP, MISSING):
            say(f"clicked '{name}', and the page said: {visitor.order(name)}")
        visitor.wait_for_orders()
        visitor.close()
    for line in viewed.lines(local, visitor.session):
        say(line)


def install_chromium() -> None:
    from tests.support import chromium

    if chromium.program() is not None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit("--headless needs Chromium; on Debian: apt-get install chromium")
    print("installing Chromium ...", flush=True)
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], check=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        main()
    except KeyboardInterrupt:
        print()
