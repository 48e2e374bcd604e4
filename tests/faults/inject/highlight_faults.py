"""Faults in the process under test: any function of the agent can be made to raise, to hang or to return garbage.

The agent knows nothing of it. A function keeps its identity, and so its place in tables, closures and guards: what is
exchanged is its code. `HIGHLIGHT_FAULTS_CONTROL` names two pipes by which a test says what to do; in
`HIGHLIGHT_FAULTS_SET` stands a fault that is there from the start.
"""

# ruff: noqa: ARG005, PLW0603 - each kind of fault has one form; one fault in a process

import _thread
import builtins
import gc
import json
import os
import sys
import time
import types

PACKAGE = "highlight_autoinstrument"
HERE = os.path.dirname(os.path.abspath(__file__))

COROUTINE, GENERATOR, ASYNC_GENERATOR = 0x80, 0x20, 0x200

HUGE = "garbage " * 200_000


class Hostile(Exception):  # noqa: N818 - it is no error of this program
    """An exception that cannot be put into words, and that nothing can be noted on."""

    __slots__ = ()

    def __str__(self):
        raise SystemExit(99)

    __repr__ = __hash__ = __str__

    def __getattribute__(self, name):
        raise Hostile

    def __setattr__(self, name, value):
        raise Hostile


class Garbage:
    """An object that answers nothing."""

    def __getattr__(self, name):
        raise AttributeError(name)

    def __bool__(self):
        raise ValueError

    __len__ = __iter__ = __eq__ = __hash__ = __bool__


def let_go(value):
    """Close a socket that nobody gets now: Python warns of one that is left to the collector."""
    if type(value).__name__ == "socket":
        value.close()


def raises(error):
    raise error


# What a function does in place of its own; `call` is what it would have done.
KINDS = {
    "raise": lambda call: raises(RuntimeError("injected")),
    "hostile": lambda call: raises(Hostile()),
    "recursion": lambda call: raises(RecursionError("injected")),
    "memory": lambda call: raises(MemoryError()),
    "late": lambda call: (let_go(call()), raises(RuntimeError("injected late"))),
    "none": lambda call: None,
    "number": lambda call: -42,
    "text": lambda call: HUGE,
    "object": lambda call: Garbage(),
    "hang": lambda call: (hang(), call())[1],
}
RAISING = ("raise", "hostile", "recursion", "memory")
GARBAGE = ("none", "number", "text", "object")

# Global state: the fault that is set, the code that it has taken the place of, how often it was met, and what was seen.
_fault = None
_original = None
_hits = 0
_switches = []
_phase = "start"
_seen = {}
_folder = ""


def hang():
    """Wait, until the test has seen enough; a part that is called many times waits no longer in all."""
    global _hang_until
    if _hang_until is None:
        _hang_until = time.monotonic() + _hang_seconds
    while _hanging and time.monotonic() < _hang_until:
        time.sleep(0.005)


_hang_seconds = 5.0
_hang_until = None
_hanging = True


# Which parts there are


def parts():
    """The functions of the agent's modules that are loaded, by names such as `wsgi.Request.end`."""
    found = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(PACKAGE + ".") and isinstance(module, types.ModuleType):
            prefix = module_name[len(PACKAGE) + 1 :]
            for name, function in functions(vars(module), module_name):
                found.setdefault(
                    function.__code__ if function is not _function else _original, (f"{prefix}.{name}", function)
                )
    return dict(found.values())


_function = None


def functions(namespace, module_name):
    for name, value in list(namespace.items()):
        if isinstance(value, type) and value.__module__ == module_name and "." not in value.__qualname__:
            for inner, function in functions(vars(value), module_name):
                yield f"{name}.{inner}", function
            continue
        plain = value
        if isinstance(plain, (classmethod, staticmethod)):
            plain = plain.__func__
        if isinstance(plain, property):
            plain = plain.fget
        while isinstance(plain, types.FunctionType) and isinstance(
            plain.__dict__.get("__wrapped__"), types.FunctionType
        ):
            plain = plain.__dict__["__wrapped__"]
        is_ours = isinstance(plain, types.FunctionType) and plain.__module__ == module_name
        if is_ours and PACKAGE in plain.__code__.co_filename:
            yield name, plain


def kind_of(function):
    flags = function.__code__.co_flags
    for flag, kind in ((COROUTINE, "coroutine"), (ASYNC_GENERATOR, "async generator"), (GENERATOR, "generator")):
        if flags & flag:
            return kind
    return "function"


# Putting a fault in


def put(part, kind):
    """Have a part fail from now on."""
    global _fault, _original, _function, _hits, _hanging, _hang_until
    clear()
    function = parts()[part]
    _fault = kind
    _function = function
    _original = function.__code__
    _hits = 0
    _hang_until = None
    _hanging = True
    function.__code__ = code_like(_original, kind_of(function))


def clear():
    """Take the fault out, and switch on again what has gone off; return how often it was met."""
    global _function, _hanging
    _hanging = False
    if _function is not None:
        _function.__code__ = _original
    _function = None
    repair()
    return _hits


def repair():
    for switch in _switches or find_switches():
        if isinstance(switch, types.CellType):
            switch.cell_contents = True
        else:
            switch.on = True
    guard = sys.modules.get(f"{PACKAGE}.guard")
    if guard is not None:
        guard._said.clear()
    pipeline = sys.modules.get(f"{PACKAGE}.pipeline")
    if pipeline is not None:
        pipeline.exports = True


def find_switches():
    """Whatever goes off when it fails: hooks, attributes that are watched, guarded callbacks."""
    patching = sys.modules.get(f"{PACKAGE}.patching")
    if patching is None:
        return []
    for thing in gc.get_objects():
        kind = type(thing)
        if kind in (patching.Switch, patching.Watched):
            _switches.append(thing)
        elif kind is types.FunctionType and "guarded_call" in thing.__code__.co_name:
            _switches.append(thing.__closure__[thing.__code__.co_freevars.index("on")])
    return _switches


TEMPLATES = {
    "function": "def f(*args, **kwargs):\n  {free}\n  return __highlight_fault__(args, kwargs)",
    "coroutine": "async def f(*args, **kwargs):\n  {free}\n  return await __highlight_fault_async__(args, kwargs)",
    "generator": "def f(*args, **kwargs):\n  {free}\n  return (yield from __highlight_fault_hook__(args, kwargs))",
}


def code_like(code, kind):
    names = code.co_freevars
    lines = ["def outer():", *[f" {name} = None" for name in names]]
    lines += [" " + line for line in TEMPLATES[kind].format(free=", ".join(names) or "pass").splitlines()]
    lines.append(" return f.__code__")
    namespace = {}
    exec("\n".join(lines), namespace)
    return namespace["outer"]().replace(
        co_name=code.co_name, co_filename=code.co_filename, co_firstlineno=code.co_firstlineno
    )


def bare(function, code):
    """The function as it was."""
    copy = types.FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def met():
    global _hits
    _hits += 1


def act(args, kwargs):
    function, code, kind = _function, _original, _fault
    met()
    if function is None:  # it has been cleared meanwhile
        raise RuntimeError("injected")
    return KINDS[kind](lambda: bare(function, code)(*args, **kwargs))


async def act_async(args, kwargs):
    function, code, kind = _function, _original, _fault
    met()
    if kind == "late":
        await bare(function, code)(*args, **kwargs)
        raise RuntimeError("injected late")
    if kind == "hang":
        hang()
        return await bare(function, code)(*args, **kwargs)
    return KINDS[kind](lambda: None)


def act_hook(args, kwargs):
    """A generator: a hook, which may fail before its `yield`, after it (`after`), and at its end (`late`)."""
    function, code, kind = _function, _original, _fault
    met()
    running = bare(function, code)(*args, **kwargs)
    if kind == "after":
        next(running)
        try:
            yield
        finally:
            raises(RuntimeError("injected after"))
    elif kind in ("late", "hang"):
        if kind == "hang":
            hang()
        result = yield from running
        if kind == "late":
            raise RuntimeError("injected late")
        return result
    elif kind == "none":  # not this one
        return None
    else:
        KINDS[kind](lambda: None)
        yield


# Seeing what is reached


def watch(frame, event, argument):
    if not _watching:
        sys.setprofile(None)
    elif event == "call" and frame.f_code.co_filename.startswith(_folder):
        _seen.setdefault(frame.f_code, set()).add((_phase, _thread.get_ident()))


_watching = False


def seen():
    """The parts that were reached, with the phases in which they were, and whether by the exporter alone."""
    pipeline = sys.modules.get(f"{PACKAGE}.pipeline")
    exporter = getattr(getattr(pipeline, "_sender", None), "_thread", None)
    found = {}
    for name, function in parts().items():
        if function.__code__ in _seen:
            places = set(_seen[function.__code__])
            found[name] = {
                "phases": sorted({phase for phase, _ in places}),
                "exporter": {ident for _, ident in places} == {exporter},
                "kind": kind_of(function),
                "line": function.__code__.co_firstlineno,
                "file": function.__code__.co_filename,
            }
    return found


def tell(file):
    """At the end of the program: write down what was seen."""
    global _watching
    _watching = False
    with open(file, "w") as out:
        json.dump(seen(), out)


# What the test says


def obey(folder):
    global _phase, _watching, _hang_seconds
    with open(os.path.join(folder, "commands")) as commands, open(os.path.join(folder, "answers"), "w") as answers:
        for line in commands:
            word, *rest = json.loads(line)
            answer = None
            try:
                if word == "put":
                    put(*rest)
                elif word == "clear":
                    answer = clear()
                elif word == "hits":
                    answer = _hits
                elif word == "phase":
                    _phase = rest[0]
                elif word == "seen":
                    _watching = False
                    answer = seen()
                elif word == "hang":
                    _hang_seconds = rest[0]
            except BaseException as error:  # noqa: BLE001 - told to the test
                answer = f"failed: {error!r}"
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


class Finder:
    """Puts a fault into a module as soon as it has been loaded."""

    def __init__(self, part, kind):
        self.part, self.kind = part, kind
        self.module = next(
            name for name in (f"{PACKAGE}.{part.rsplit('.', n)[0]}" for n in (1, 2, 3)) if _is_module(name)
        )

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            put(self.part, self.kind)

        spec.loader.exec_module = exec_module
        return spec


def _is_module(name):
    return os.path.exists(os.path.join(_folder, *name.split(".")[1:]) + ".py")


def start(environ=os.environ):
    """Be ready for what the environment asks for."""
    global _folder, _watching, _hang_seconds
    builtins.__highlight_fault__ = act
    builtins.__highlight_fault_async__ = act_async
    builtins.__highlight_fault_hook__ = act_hook
    _folder = environ.get("HIGHLIGHT_FAULTS_PACKAGE", "")
    _hang_seconds = float(environ.get("HIGHLIGHT_FAULTS_HANG", "5"))
    wanted = environ.get("HIGHLIGHT_FAULTS_SET")
    if wanted:
        part, _, kind = wanted.partition(" ")
        sys.meta_path.insert(0, Finder(part, kind))
    control = environ.get("HIGHLIGHT_FAULTS_CONTROL")
    if environ.get("HIGHLIGHT_FAULTS_SEEN"):
        import atexit

        atexit.register(tell, environ["HIGHLIGHT_FAULTS_SEEN"])  # after the agent's, which is registered later
    if environ.get("HIGHLIGHT_FAULTS_WATCH"):
        import threading

        _watching = True
        threading.setprofile(watch)
        sys.setprofile(watch)
    if control:
        _thread.start_new_thread(obey, (control,))
