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
    show(receiver)


def show(receiver) -> None:
    for session in dict.fromkeys(span.session for span in receiver.spans):
        print(f"\nsession {session}")
        spans = [span for span in receiver.spans if span.session == session]
        for span in spans:
            if span.parent_id not in {other.span_id for other in spans}:
                show_span(span, spans, receiver, "  ")


def show_span(span, spans, receiver, indent: str) -> None:
    milliseconds = (span.end_ns - span.start_ns) / 1e6
    print(f"{indent}{span.kind.lower()} {span.name}  [{span.service}]  {milliseconds:.1f} ms  {span.status}")
    inside = indent + "  "
    for log in receiver.logs:
        if log.span_id == span.span_id:
            print(f"{inside}log {log.severity_text} {log.logger}: {log.body}")
    for error in receiver.errors:
        if error.record.span_id == span.span_id:
            print(f"{inside}ERROR {error.type}: {error.message}  (session {error.session})")
    for child in spans:
        if child.parent_id == span.span_id:
            show_span(child, spans, receiver, inside)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
