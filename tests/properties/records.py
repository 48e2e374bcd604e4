"""Makes log records of recipes, a line of JSON each, and answers what the application's own handlers made of it."""

import io
import json
import logging
import sys

import loguru
import structlog


def raises(*_, **__):
    raise ValueError("hostile")


class Hostile:
    __str__ = __repr__ = __bool__ = __len__ = __iter__ = __hash__ = __eq__ = __format__ = raises

    def __getattr__(self, name):
        raise ValueError(name)

    @property
    def __class__(self):
        raise ValueError("nobody's class")


class Failure(Exception):  # noqa: N818
    __slots__ = ()
    __str__ = __repr__ = raises

    def __getattribute__(self, name):
        raise ValueError(name)


class Number(int):
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __hash__ = __str__ = __repr__ = raises


class Text(str):
    __slots__ = ()
    __str__ = __repr__ = raises


class Pairs(dict):
    __iter__ = __len__ = items = keys = values = raises


def raised(error):
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def nested(depth):
    error = KeyError("leaf")
    if sys.version_info >= (3, 11):
        for _ in range(depth):
            error = ExceptionGroup("group", [error])  # noqa: F821 - there from 3.11 on
    return error


MAKE = {
    "hostile": Hostile,
    "failure": Failure,
    "raised": lambda: raised(Failure()),
    "number": lambda: Number(40),
    "str": lambda: Text("text"),
    "pairs": lambda: Pairs(a=1),
    "bytes": lambda: b"\xff\x00",
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "surrogate": lambda: "\udcff",
    "set": lambda: {1, 2},
    "error": lambda: raised(KeyError("made")),
    "group": lambda: nested(1000),
    "nobody": lambda: (None, None, None),
    "tuple": lambda: (ValueError, ValueError("made"), None),
    "endless": lambda: (lambda endless: (endless.append(endless), endless)[1])([]),
}


def made(recipe):
    """The object that a recipe stands for: a list with one word is a name of what is above."""
    if isinstance(recipe, dict):
        if "make" in recipe:
            return MAKE[recipe["make"]]()
        return {key: made(value) for key, value in recipe.items()}
    return [made(item) for item in recipe] if isinstance(recipe, list) else recipe


out = io.StringIO()
logging.basicConfig(stream=out, format="%(levelname)s %(message)s", level=1)
logging.raiseExceptions = False
loguru.logger.remove()
loguru.logger.add(out, format="{level.no} {message}", level=0, catch=True)
structlog.configure(
    processors=[structlog.processors.KeyValueRenderer(sort_keys=False)],
    logger_factory=structlog.PrintLoggerFactory(out),
)


def log(library, level, message, args, exc_info, extra, record):
    if library == "logging":
        logging.getLogger("any").log(level, message, *args, exc_info=exc_info, extra=extra)
    elif library == "record":
        logging.getLogger("made").handle(logging.makeLogRecord(record))
    elif library == "loguru":
        loguru.logger.opt(exception=exc_info).bind(**extra).log(level, message, *args)
    else:
        name = {10: "debug", 20: "info", 40: "error", 50: "exception"}.get(
            level if type(level) is int else 0, "warning"
        )
        getattr(structlog.get_logger(), name)(message, exc_info=exc_info, **extra)


for line in sys.stdin:
    recipe = {name: made(value) for name, value in json.loads(line).items()}
    out.seek(0)
    out.truncate()
    try:
        log(**recipe)
        answer = None
    except Exception as error:  # noqa: BLE001
        answer = type(error).__name__
    print(json.dumps([answer, out.getvalue().replace("0x", "")]), flush=True)
