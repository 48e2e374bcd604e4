"""The shop of `examples/demo.py`: two services under `highlight-run`, and the page on origins of its own."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.environment import ROOT

from .services import Service, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

FOLDER = ROOT / "examples" / "demo"
PAGE = FOLDER / "page"
BARE = "bare"  # the name of a page without Highlight


@dataclass
class Shop:
    """Where all of it is; the pages by their names."""

    stock: Service
    shop: Service
    pages: dict[str, Service]

    def check(self) -> None:
        """Fail if the agent had something to say in either service."""
        self.stock.check()
        self.shop.check()


@contextmanager
def running(
    folder: Path, highlight: str, pages: Mapping[str, Path], say: Callable[[str], object] = lambda _: None
) -> Iterator[Shop]:
    """All of it until the end of the block; each page has a name and a folder of built files."""
    port = free_port()  # pages and shop have to know each other's
    of_pages = {"SHOP_URL": f"http://127.0.0.1:{port}", "HIGHLIGHT_URL": highlight}
    of_bare_pages = {name: value for name, value in of_pages.items() if name != "HIGHLIGHT_URL"}
    with ExitStack() as stack:
        start = partial(_start, stack, folder, highlight, say)
        stock = start("uvicorn stock:app --port {port} --log-level warning", "stock")
        served = {}
        for name, files in pages.items():
            env = {"PAGE_FILES": str(files), **(of_bare_pages if name == BARE else of_pages)}
            served[name] = start(f"python {FOLDER / 'page_server.py'}", f"page-{name}", env, bare=True)
        env = {"STOCK_URL": stock.url, "PAGE_URLS": " ".join(page.url for page in served.values())}
        yield Shop(stock, start(f"python {FOLDER / 'shop.py'}", "shop", env, port=port), served)


def _start(
    stack: ExitStack,
    folder: Path,
    highlight: str,
    say: Callable[[str], object],
    command: str,
    name: str,
    env: Mapping[str, str] | None = None,
    **options: object,
) -> Service:
    env = {"PYTHONPATH": str(FOLDER), **(env or {})}
    service = Service(command, folder=folder, endpoint=highlight, name=name, env=env, **options)
    stack.callback(service.kill)
    launcher = "" if options.get("bare") else "highlight-run "
    say(f"started: {launcher}{command.format(port=service.port)}")
    return service
