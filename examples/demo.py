"""One request of a browser's goes through two services, and what they report is printed with its session.

    python3 examples/demo.py

sets up a virtual environment of its own (.venv-demo), starts an OTLP receiver, a Flask and a FastAPI service under
highlight-run, sends a request as Highlight's browser client does, and prints the spans, logs and errors that arrived.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import environment  # noqa: E402
import tree  # noqa: E402

PACKAGES = ["flask", "requests", "fastapi", "uvicorn", "opentelemetry-proto"]


def main() -> None:
    environment.enter(ROOT / ".venv-demo", PACKAGES)

    from tests.support.receiver import Receiver
    from tests.support.services import Service

    folder = ROOT / "examples" / "demo"
    receiver = Receiver()
    services = []

    def start(command: str, name: str, **env: str) -> Service:
        service = Service(
            command,
            folder=ROOT / ".venv-demo" / "demo",
            endpoint=receiver.url,
            name=name,
            env={"PYTHONPATH": str(folder), **env},
        )
        services.append(service)
        print(f"started: highlight-run {command.format(port=service.port)}")
        return service

    try:
        stock = start("uvicorn stock:app --port {port} --log-level warning", "stock")
        shop = start(f"python {folder / 'shop.py'}", "shop", STOCK_URL=stock.url)
        for number, session in ((7, "happyCustomerSession00000001"), (13, "unluckyCustomerSession000002")):
            answer = shop.get(f"/orders/{number}", {"x-highlight-request": f"{session}/{number:032x}"})
            print(f"the browser: GET /orders/{number} -> {answer.status}")
        receiver.wait(spans=6, errors=2)
    finally:
        for service in services:
            service.kill()
        receiver.close()
    tree.show(receiver)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
