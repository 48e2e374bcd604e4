"""An exception as text: read back by the rules that the receiving side applies, for exceptions of every kind."""

import importlib
import json
import linecache
import multiprocessing
import os
import re
import sys
import threading
import types
import zipfile
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import pytest

from highlight_autoinstrument import tracebacks
from highlight_autoinstrument.tracebacks import describe

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup

HEADER = "Traceback (most recent call last):"
CHAINED = "During handling of the above exception, another exception occurred:"
FRAME = re.compile(r'  File "(.+)", line (\d+), in (\w+)', re.ASCII)
ANOTHER_LANGUAGE = re.compile(r"@.+\.js:\d+:\d+| {4}at .+|\t|^\s*runtime\.gopanic\s*$|^\s*[\^~]+\s*$", re.ASCII)
NO_SOURCE = "(source not available)"


class Block(NamedTuple):
    """One of the chained tracebacks: its frames as (path, line number, name, source line), and its error line."""

    frames: list
    error: str


def parse(stacktrace: str) -> list[Block]:
    """Read a traceback line by line, as strictly as the strictest reader would."""
    assert stacktrace.encode()
    assert stacktrace.endswith("\n")
    lines = stacktrace[:-1].split("\n")
    assert lines == stacktrace.splitlines(), "characters that some readers take for line ends"
    blocks = []
    while True:
        assert lines.pop(0) == HEADER
        frames = []
        while lines[0].startswith(" "):
            frame, source = lines.pop(0), lines.pop(0)
            match = FRAME.fullmatch(frame)
            assert match, frame
            assert re.fullmatch(r" {4}\S.*", source), source
            assert not ANOTHER_LANGUAGE.search(source), source
            assert not FRAME.search(source), source
            frames.append((match[1], int(match[2]), match[3], source[4:]))
        error = lines.pop(0)
        assert re.match(r"\S", error)
        blocks.append(Block(frames, error))
        if not lines:
            return blocks
        assert not ANOTHER_LANGUAGE.search(error), error
        assert not FRAME.search(error), error
        assert lines[:3] == ["", CHAINED, ""]
        del lines[:3]


def check(text: tracebacks.ErrorText) -> list[Block]:
    """What holds for every exception there is."""
    assert text.type
    assert text.message
    assert text.message.strip()
    assert len(text.message) <= 10_000
    assert len(text.stacktrace.encode()) <= 60_000
    assert len(text.structured.encode()) <= 60_000
    assert all(type(part) is str for part in text)
    assert b"\x00" not in "".join(text).encode()
    frames = json.loads(text.structured)
    assert len(frames) <= 64
    for frame in frames:
        assert list(frame) == [
            "fileName",
            "lineNumber",
            "functionName",
            "linesBefore",
            "lineContent",
            "linesAfter",
            "error",
        ]
        assert type(frame["lineNumber"]) is int
        assert len(frame["linesBefore"].split("\n")) <= 5
        assert len(frame["linesAfter"].split("\n")) <= 5
        assert "\n" not in frame["lineContent"]
        assert len(frame["error"]) <= 500
    blocks = parse(text.stacktrace)
    assert blocks[-1].error.startswith(text.type)
    return blocks


def caught(function, *arguments):
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001 - they are what is looked at
        return error
    raise AssertionError("nothing was raised")


def throw(error):
    raise error


def run(source, filename="<string>", **names):
    exec(compile(source, filename, "exec"), names)


# --- the ordinary


def test_a_traceback_reads_as_pythons_does():
    def inner():
        raise ValueError("no such thing")

    def outer():
        inner()

    text = describe(caught(outer))

    [block] = check(text)
    assert text.type == "ValueError"
    assert text.message == "no such thing"
    assert block.error == "ValueError: no such thing"
    assert [frame[2:] for frame in block.frames] == [
        ("caught", "function(*arguments)"),
        ("outer", "inner()"),
        ("inner", 'raise ValueError("no such thing")'),
    ]
    assert {frame[0] for frame in block.frames} == {os.path.abspath(__file__)}
    assert block.frames[2][1] == inner.__code__.co_firstlineno + 1


def test_structured_frames_run_from_the_innermost_with_their_surroundings():
    def inner():
        before = 1
        raise ValueError(before)
        # after

    frames = json.loads(describe(caught(inner)).structured)

    assert [frame["functionName"] for frame in frames] == ["inner", "caught"]
    first = frames[0]
    assert first["fileName"] == os.path.abspath(__file__)
    assert first["lineNumber"] == inner.__code__.co_firstlineno + 2
    assert first["error"] == "ValueError: 1"
    assert first["lineContent"] == "        raise ValueError(before)"
    assert first["linesBefore"].split("\n")[-2:] == ["    def inner():", "        before = 1"]
    assert first["linesAfter"].split("\n")[:2] == ["        # after", ""]
    assert len(first["linesBefore"].split("\n")) == len(first["linesAfter"].split("\n")) == 5


def test_the_first_and_the_last_line_of_a_file_have_what_there_is_around_them(tmp_path):
    path = tmp_path / "short.py"
    path.write_text("fail = lambda: 1 / 0\n")
    names = {}
    exec(compile(path.read_text(), str(path), "exec"), names)

    frame = json.loads(describe(caught(names["fail"])).structured)[0]

    assert (frame["linesBefore"], frame["lineContent"], frame["linesAfter"]) == ("", "fail = lambda: 1 / 0", "")
    assert frame["functionName"] == "<lambda>"


def test_the_second_line_has_one_before_it(tmp_path):
    path = tmp_path / "longer.py"
    path.write_text("# one\n1 / 0\n" + "# more\n" * 10)

    frame = json.loads(describe(caught(run, path.read_text(), str(path))).structured)[0]

    assert (frame["linesBefore"], frame["lineContent"]) == ("# one", "1 / 0")
    assert frame["linesAfter"] == "\n".join(["# more"] * 5)


# --- names


class Raises(BaseException):
    pass


def hostile_object():
    def refuse(_):
        raise Raises

    return type("Hostile", (), {"__class__": property(refuse)})()


class Outer:
    class DomainError(Exception):
        pass


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (KeyError("k"), "KeyError"),
        (Outer.DomainError("m"), f"{__name__}.Outer.DomainError"),
        (type("Made", (Exception,), {"__module__": None})("m"), "Made"),
        (type("Made", (Exception,), {"__module__": 3})("m"), "Made"),
        (type("Made", (Exception,), {"__module__": ""})("m"), "Made"),
        (type("Made", (Exception,), {"__module__": hostile_object()})("m"), "Made"),
        (type("Made", (Exception,), {"__module__": "__main__"})("m"), "__main__.Made"),
        (type("Made", (Exception,), {"__module__": "a.b", "__qualname__": "C.D"})("m"), "a.b.C.D"),
        (
            type("Made", (Exception,), {"__module__": "a", "__qualname__": "Two\nlines\t\udc80"})("m"),
            "a.Two lines \\udc80",
        ),
        (type("", (Exception,), {"__module__": None})("m"), "Exception"),
    ],
)
def test_a_type_is_named_with_its_module(error, name):
    text = describe(error)

    [block] = check(text)
    assert text.type == name
    assert block.error == f"{name}: {text.message}"


def test_a_metaclass_that_raises_for_every_name_is_not_asked():
    class Meta(type):
        def __getattribute__(cls, name):
            raise RuntimeError(name)

    class Strange(Exception, metaclass=Meta):  # noqa: N818 - its name is looked at
        pass

    text = describe(Strange())
    assert text.type.endswith("Strange")
    assert check(text)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<module>", "module"),
        ("<lambda>", "lambda"),
        ("<listcomp>", "listcomp"),
        ("plain_1", "plain_1"),
        ("été", "_t_"),
        ("处理", "_"),
        ("<>", "unknown"),
        ("", "unknown"),
        ("a b\nc", "a_b_c"),
        ("\udc80", "_"),
        ("x" * 5000, "x" * 300),
    ],
)
def test_a_frames_name_is_made_of_word_characters(name, shown):
    def fail():
        raise ValueError

    fail.__code__ = fail.__code__.replace(co_name=name)

    [block] = check(describe(caught(fail)))

    assert block.frames[-1][2] == shown


def test_the_frames_of_modules_lambdas_and_comprehensions_are_all_there(tmp_path):
    path = tmp_path / "kinds.py"
    path.write_text("fail = lambda: 1 / 0\nclass C:\n    [\n        fail() for _ in 'x'\n    ]\n")

    [block] = check(describe(caught(run, path.read_text(), str(path))))

    names = [frame[2] for frame in block.frames if frame[0] == str(path)]
    inlined = sys.version_info >= (3, 12)  # comprehensions have no frame of their own since then
    assert names == ["module", "C", *([] if inlined else ["listcomp"]), "lambda"]


# --- messages


@pytest.mark.parametrize(
    ("error", "message", "last_line"),
    [
        (ValueError(), "ValueError", "ValueError"),
        (ValueError(" \n "), "ValueError", "ValueError"),
        (AssertionError(), "AssertionError", "AssertionError"),
        (Outer.DomainError(), "DomainError", f"{__name__}.Outer.DomainError"),
        (KeyError("a"), "'a'", "KeyError: 'a'"),
        (ValueError("a\n  b\r\n\n c\rd"), "a\n  b\n\n c\nd", "ValueError: a b c d"),
        (ValueError("a  b\tc"), "a  b\tc", "ValueError: a  b c"),
        (
            ValueError("\x00\x1b[1m\x7f\x85\u2028"),
            r"\x00\x1b[1m\x7f\x85\u2028",
            r"ValueError: \x00\x1b[1m\x7f\x85\u2028",
        ),
        (ValueError("a\udc80b\ud800"), r"a\udc80b\ud800", r"ValueError: a\udc80b\ud800"),
        (ValueError("größe 处理 🦉"), "größe 处理 🦉", "ValueError: größe 处理 🦉"),
        (ValueError(HEADER), HEADER, f"ValueError: {HEADER}"),
        (OSError(2, "gone", "f"), "[Errno 2] gone: 'f'", "FileNotFoundError: [Errno 2] gone: 'f'"),
        (ExceptionGroup("g", [KeyError("k")]), "g (1 sub-exception)", None),
    ],
)
def test_the_message_is_the_exceptions_text_and_stands_on_the_last_line(error, message, last_line):
    text = describe(error)

    blocks = check(text)
    assert text.message == message
    if last_line is not None:
        assert blocks[-1].error == last_line


def test_a_syntax_error_says_where():
    error = caught(compile, "a =\n", "some.py", "exec")

    text = describe(error)

    assert check(text)
    assert text.message == str(error)
    assert "(some.py, line 1)" in text.message


@pytest.mark.parametrize("raised", [ValueError, RecursionError, SystemExit, GeneratorExit, Raises, MemoryError])
def test_a_str_that_raises_is_said(raised):
    class UnprintableError(Exception):
        def __str__(self):
            raise raised("inside")

        __repr__ = __str__

    text = describe(caught(throw, UnprintableError()))

    assert check(text)
    assert text.message.startswith("(no text: __str__ raised ")
    assert raised.__name__ in text.message


def test_a_keyboard_interrupt_is_the_users_even_there():
    class SlowError(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        describe(SlowError())


class HostileText(str):
    __slots__ = ()

    def __getitem__(self, _):
        raise RuntimeError("text")

    __len__ = __str__ = isprintable = replace = split = strip = __add__ = __radd__ = __format__ = __getitem__


@pytest.mark.parametrize("value", [None, 3, b"bytes"])
def test_a_str_that_returns_something_else_is_said(value):
    error = type("OddError", (Exception,), {"__str__": lambda _: value})()

    text = describe(error)

    assert check(text)
    assert text.message == "(no text: __str__ raised TypeError)"


def test_a_text_that_only_looks_like_a_str_is_read_as_one():
    error = type("OddError", (Exception,), {"__str__": lambda _: HostileText("said")})()
    error.__notes__ = [HostileText("noted")]

    text = describe(error)

    assert check(text)
    assert text.message == "said\nnoted"


@pytest.mark.parametrize("character", ["a", "é", "🦉", "\udc80", "\x00", "\n"])
def test_an_enormous_message_is_cut_and_leaves_room_for_the_frames(character):
    error = caught(throw, ValueError("start" + character * 5_000_000))

    text = describe(error)

    blocks = check(text)
    assert text.message.startswith("start")
    assert len(text.message) == 10_000
    assert blocks[-1].frames[-1][2:] == ("throw", "raise error")


def test_locals_and_arguments_beside_the_message_are_not_read():
    class Private:
        def __repr__(self):
            raise AssertionError("repr was called")

    def fail(secret):
        kept = secret
        raise Outer.DomainError("m")
        return kept

    text = describe(caught(fail, Private()))

    assert check(text)
    assert text.message == "m"


# --- notes


def noted(notes):
    error = ValueError("said")
    error.__notes__ = notes
    return error


@pytest.mark.parametrize(
    ("notes", "message"),
    [
        (["first", "second\nline"], "said\nfirst\nsecond\nline"),
        (("first",), "said\nfirst"),
        ([], "said"),
        (None, "said"),
        ("text", "said"),
        (3, "said"),
        ([3, object(), "kept", None], "said\nkept"),
        ({"a": 1}, "said"),
    ],
)
def test_notes_are_part_of_the_message(notes, message):
    text = describe(noted(notes))

    [block] = check(text)
    assert text.message == message
    assert block.error == "ValueError: " + " ".join(message.split())


def test_a_note_alone_is_a_message():
    error = ValueError()
    error.__notes__ = ["noted"]

    assert describe(error).message == "noted"


def test_many_and_enormous_notes_are_cut():
    assert len(check(describe(noted(["n" * 100_000_0] * 50)))) == 1
    assert len(describe(noted(["n"] * 1_000_000)).message) == 10_000


# --- exceptions that resist


def hostile_attributes():
    class HostileError(Exception):
        def __getattribute__(self, name):
            raise RuntimeError(name)

    return HostileError("said")


def hostile_properties():
    def refuse(_):
        raise Raises

    names = ["__traceback__", "__cause__", "__context__", "__suppress_context__", "__notes__", "exceptions", "args"]
    return type("HostileError", (Exception,), {name: property(refuse) for name in [*names, "__class__", "__dict__"]})()


def hostile_members():
    member = hostile_object()
    error = ValueError("said")
    error.exceptions = [member, None, KeyError, KeyError("k")]
    error.__notes__ = [member]
    return error


def endless_members():
    class EndlessError(Exception):
        @property
        def exceptions(self):
            return [EndlessError("again"), EndlessError("and again")]

    return EndlessError("said")


def not_members():
    error = ValueError("said")
    error.exceptions = {"a": ValueError()}
    return error


@pytest.mark.parametrize(
    "make", [hostile_attributes, hostile_properties, hostile_members, endless_members, not_members]
)
def test_attributes_may_be_and_raise_anything(make):
    blocks = check(describe(caught(throw, make())))

    assert "throw" in [frame[2] for block in blocks for frame in block.frames]
    assert len(blocks) <= 65


def test_the_exception_stays_as_it_was():
    error = caught(throw, noted(["n"]))
    before = (error.__traceback__, error.__cause__, error.__context__, dict(error.__dict__), error.args)
    count = sys.getrefcount(error)

    describe(error)

    assert (error.__traceback__, error.__cause__, error.__context__, dict(error.__dict__), error.args) == before
    assert sys.getrefcount(error) == count


# --- chains


def failing_while_handling(first, second, cause=None):
    try:
        raise first
    except Exception:  # noqa: BLE001 - whatever was given
        if cause is None:
            raise second  # noqa: B904 - the context is what is looked at
        raise second from cause


def test_causes_come_before_the_exception():
    first, second = ValueError("first"), KeyError("second")

    text = describe(caught(failing_while_handling, first, second))

    assert [block.error for block in check(text)] == ["ValueError: first", "KeyError: 'second'"]
    frames = json.loads(text.structured)
    assert [(frame["functionName"], frame["error"]) for frame in frames] == [
        ("failing_while_handling", "KeyError: 'second'"),
        ("caught", "KeyError: 'second'"),
        ("failing_while_handling", "ValueError: first"),
    ]


def test_a_cause_goes_before_a_context_and_from_none_hides_both():
    context, cause = ValueError("context"), ValueError("cause")
    with_cause = caught(failing_while_handling, context, KeyError(1), cause)
    hidden = caught(failing_while_handling, context, KeyError(2))
    hidden.__suppress_context__ = True

    assert [block.error for block in check(describe(with_cause))] == ["ValueError: cause", "KeyError: 1"]
    assert [block.error for block in check(describe(hidden))] == ["KeyError: 2"]


def test_a_chain_that_bites_its_tail_ends():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert [block.error for block in check(describe(first))] == ["ValueError: second", "ValueError: first"]


def test_of_an_endless_chain_the_end_is_told():
    error = ValueError(0)
    for number in range(1, 10_000):
        link = ValueError(number)
        link.__context__ = error
        error = link

    blocks = check(describe(error))

    assert blocks[-1].error == "ValueError: 9999"
    assert [block.error for block in blocks] == [f"ValueError: {number}" for number in range(10_000 - 64, 10_000)]


def test_a_traceback_in_the_message_of_a_cause_is_no_traceback():
    remote = f'"""\n{HEADER}\n  File "/remote/pool.py", line 125, in worker\n    at job (1)\n\tgo.go:12\n"""'
    cause = ValueError(remote + '   File "x.py", line 1, in x    at y (z:1:2) a@b.js:1:2\t')

    text = describe(caught(failing_while_handling, cause, KeyError("k")))

    assert len(check(text)) == 2
    assert "/remote/pool.py" in text.stacktrace


# --- groups


def remote(text):
    class _RemoteTraceback(Exception):  # noqa: N818 - as the standard library's
        def __init__(self, tb):
            self.tb = tb

    error = KeyError("x")
    error.__cause__ = _RemoteTraceback(text)
    return error


def test_the_traceback_of_another_process_is_one_as_well():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(int, "x").exception()
    assert [block.error for block in parse(describe(error).stacktrace)] == [
        "ValueError: invalid literal for int() with base 10: 'x'"
    ] * 2
    there, _ = parse(describe(error).stacktrace)
    assert [frame[2] for frame in there.frames] == ["_process_worker"]


CHAIN = f"""
{HEADER}
  File "/a.py", line 1, in f
    x
    ^
A: b

During handling of ...:

{HEADER}
B: \x00
"""


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        (f'"""{CHAIN}"""', ["A: b", r"B: \x00"]),
        (f'{HEADER}\n  File "\x00", line 0, in <\u00e9>\n' * 3 + "C\n", ["C"]),
        (f"{HEADER}\n" + '  File "/a.py", line 1, in f\n    x\n' * 100_000 + "D\n", ["D"]),
        (f"{HEADER}\n" * 100_000 + "E\n", ["E"]),
        *((text, None) for text in ("", "no traceback", f"{HEADER}\n", f"{HEADER}\n   \n", 7)),
    ],
)
def test_whatever_another_process_says_is_told(text, errors):
    *others, last = parse(describe(remote(text)).stacktrace)

    assert last.error == "KeyError: 'x'"
    if errors is None:  # it is told as any cause
        assert [block.error.partition(":")[0].rpartition(".")[2] for block in others] == ["_RemoteTraceback"]
    else:
        assert [block.error for block in others] == errors


def test_a_group_is_followed_by_its_members_and_named_on_the_last_line():
    def run_all():
        members = [caught(throw, ValueError("one")), caught(failing_while_handling, KeyError("c"), OSError("two"))]
        raise ExceptionGroup("all", members)

    text = describe(caught(run_all))

    blocks = check(text)
    assert text.type.endswith("ExceptionGroup")
    assert text.message == "all (2 sub-exceptions)"
    assert [block.error for block in blocks] == [
        f"{text.type}: all (2 sub-exceptions)",
        "ValueError: one",
        "KeyError: 'c'",
        "OSError: two",
        f"{text.type}: all (2 sub-exceptions)",
    ]
    assert [len(block.frames) for block in blocks] == [2, 2, 1, 2, 0]
    assert json.loads(text.structured)[0]["error"] == "OSError: two"


def test_groups_in_groups_are_flattened():
    inner = ExceptionGroup("inner", [ValueError("a"), KeyError("b")])
    text = describe(caught(throw, BaseExceptionGroup("outer", [inner, KeyboardInterrupt("c")])))

    names = [block.error.rpartition("Group: ")[2] for block in check(text)]
    outer, inner = "outer (2 sub-exceptions)", "inner (2 sub-exceptions)"
    assert names == [outer, inner, "ValueError: a", "KeyError: 'b'", "KeyboardInterrupt: c", outer]


def test_a_member_that_is_the_context_as_well_is_told_once():
    member = ValueError("one")
    error = caught(failing_while_handling, member, ExceptionGroup("all", [member]))

    assert [block.error.rpartition(": ")[2] for block in check(describe(error))].count("one") == 1


def test_a_wide_and_a_deep_group_are_bounded():
    wide = ExceptionGroup("wide", [caught(throw, ValueError(number)) for number in range(5000)])
    deep = ValueError("bottom")
    for _ in range(200):
        deep = ExceptionGroup("deep", [deep])

    assert len(check(describe(caught(throw, wide)))) == 52
    assert len(check(describe(caught(throw, deep)))) == 65


# --- deep stacks


def recurse(depth):
    if depth:
        recurse(depth - 1)
    raise LookupError("bottom")


@pytest.fixture
def deep_stack():
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(12_000)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("deep_stack")
def test_of_a_recursion_the_innermost_frames_are_kept():
    text = describe(caught(recurse, 10_000))

    [block] = check(text)
    assert text.stacktrace.startswith(f"{HEADER}\n")
    assert block.frames[-1][3] == 'raise LookupError("bottom")'
    assert {frame[3] for frame in block.frames[:-1]} == {"recurse(depth - 1)"}
    assert "repeated" not in text.stacktrace
    one_more = len(f'  File "{__file__}", line 100, in recurse\n    recurse(depth - 1)\n')
    assert 60_000 - one_more <= len(text.stacktrace) <= 60_000
    assert len(json.loads(text.structured)) == 20


def test_nothing_from_before_the_cut_is_told():
    filename = "<long lines of a recursion>"
    line = "def recurse(depth): recurse(depth - 1) if depth else 1 / 0  # " + "-" * 400
    linecache.cache[filename] = (1, None, [line], filename)
    names = {}
    exec(compile(line, filename, "exec"), names)
    error = caught(names["recurse"], 500)
    error.__context__ = ValueError("first")

    [block] = check(describe(error))

    assert block.error == "ZeroDivisionError: division by zero"


@pytest.mark.usefixtures("deep_stack")
def test_a_recursion_error_with_a_chain_is_cut_at_the_head_as_a_whole():
    text = describe(caught(failing_while_handling, caught(recurse, 5000), KeyError("k")))

    first, last = check(text)
    assert last.error == "KeyError: 'k'"
    assert [frame[2] for frame in last.frames] == ["caught", "failing_while_handling"]
    assert first.error == "LookupError: bottom"
    assert first.frames[0][2] == "recurse"


def depth():
    frame, count = sys._getframe(), 0
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


@pytest.mark.parametrize("left", range(4, 40))
def test_an_exception_is_described_where_the_stack_is_all_but_used_up(left):
    error = caught(throw, ValueError("m"))
    limit = sys.getrecursionlimit()
    texts = []

    def describe_it():
        sys.setrecursionlimit(depth() - 1 + left)
        try:
            texts.append(describe(error))
        finally:
            sys.setrecursionlimit(limit)

    thread = threading.Thread(target=describe_it)  # its stack is its own, of a known depth
    thread.start()
    thread.join()

    [text] = texts
    assert check(text)
    assert text.type == "ValueError"


def test_at_most_64_structured_frames_are_sent_and_20_of_one_exception():
    error = caught(recurse, 100)
    for _ in range(5):
        link = caught(recurse, 100)
        link.__context__ = error
        error = link

    assert len(json.loads(describe(error).structured)) == 64


# --- sources


@pytest.mark.parametrize(
    "filename",
    ["<string>", "<stdin>", "<frozen zipimport>", "<template>", "/no/such/file.py", "", "a\x00b.py", "/no\n/\udc80.py"],
)
def test_a_frame_without_source_has_a_filler(filename):
    fail = types.FunctionType(throw.__code__.replace(co_filename=filename), {})

    text = describe(caught(fail, ValueError()))

    [block] = check(text)
    assert block.frames[-1][3] == NO_SOURCE
    frame = json.loads(text.structured)[0]
    assert (frame["linesBefore"], frame["lineContent"], frame["linesAfter"]) == ("", "", "")


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relative.py").write_text("1 / 0\n")

    [block] = check(describe(caught(run, "1 / 0\n", "relative.py")))

    assert block.frames[-1] == (str(tmp_path / "relative.py"), 1, "module", "1 / 0")


def test_a_working_directory_that_is_gone_is_no_obstacle(tmp_path, run_python):
    (tmp_path / "gone").mkdir()
    done = run_python(
        """
import os
from highlight_autoinstrument.tracebacks import describe
os.chdir("gone")
os.rmdir(os.getcwd())
try:
    exec(compile("1 / 0", "nowhere.py", "exec"))
except ZeroDivisionError as error:
    print(describe(error).stacktrace)
""",
        measured=False,  # its tracer wants to know where it is
    )

    assert f'File "nowhere.py", line 1, in module\n    {NO_SOURCE}\n' in done.stdout, done.stderr


def test_a_file_that_changed_is_read_again_and_one_that_vanished_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(tracebacks, "_RECHECK_SECONDS", -1.0)
    path = tmp_path / "changing.py"
    path.write_text("1 / 0  # one\n")
    error = caught(run, path.read_text(), str(path))

    def line():
        [block] = check(describe(error))
        return block.frames[-1][3]

    assert line() == "1 / 0  # one"
    path.write_text("1 / 0  # and two\n")
    assert line() == "1 / 0  # and two"
    path.unlink()
    assert line() == "1 / 0  # and two"
    path.write_text("")
    assert line() == NO_SOURCE


def test_files_are_looked_at_again_only_now_and_then(tmp_path):
    path = tmp_path / "steady.py"
    path.write_text("1 / 0  # one\n")
    error = caught(run, path.read_text(), str(path))
    before = describe(error)
    source = tracebacks._sources[str(path)]

    checked = source.checked

    assert describe(error) == before
    assert tracebacks._sources[str(path)] is source
    assert source.checked == checked


def test_binary_enormous_and_unreadable_files_have_no_source(tmp_path):
    binary, enormous, pipe = tmp_path / "binary.py", tmp_path / "enormous.py", tmp_path / "pipe.py"
    binary.write_bytes(b"\xff\xfe\x00" * 1000)
    with enormous.open("wb") as file:
        file.truncate(100_000_000)
    os.mkfifo(pipe)

    for path in (binary, enormous, pipe, tmp_path):
        [block] = check(describe(caught(run, "1 / 0\n", str(path))))
        assert block.frames[-1] == (str(path), 1, "module", NO_SOURCE)
        assert not linecache.cache.get(str(path))


def test_the_source_of_a_module_in_a_zip_file_is_asked_of_its_loader(tmp_path, monkeypatch):
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped_for_tracebacks.py", "def fail():\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(archive)
    module = importlib.import_module("zipped_for_tracebacks")

    [block] = check(describe(caught(module.fail)))

    assert block.frames[-1] == (str(archive / "zipped_for_tracebacks.py"), 2, "fail", "return 1 / 0")


def test_a_loader_that_raises_is_no_loader():
    class Loader:
        def get_source(self, name):
            raise RuntimeError(name)

    names = {"__name__": "m", "__loader__": Loader()}
    [block] = check(describe(caught(eval, compile("1 / 0", "/loader/raises.py", "eval"), names)))

    assert block.frames[-1][3] == NO_SOURCE


def test_the_source_that_a_program_gave_to_linecache_is_shown():
    linecache.cache["<generated 1>"] = (6, None, ["1 / 0\n"], "<generated 1>")

    [block] = check(describe(caught(run, "1 / 0\n", "<generated 1>")))

    assert block.frames[-1] == ("<generated 1>", 1, "module", "1 / 0")


def test_the_name_of_many_sources_is_that_of_none(monkeypatch):
    monkeypatch.setitem(linecache.cache, "<string>", (1, None, ["another source\n"], "<string>"))

    [block] = check(describe(caught(run, "1 / 0\n", "<string>")))

    assert block.frames[-1] == ("<string>", 1, "module", NO_SOURCE)


def test_a_line_beyond_the_end_of_the_file_has_a_filler(tmp_path):
    path = tmp_path / "shorter.py"
    path.write_text("x\n")

    [block] = check(describe(caught(run, "\n\n\n1 / 0\n", str(path))))

    assert block.frames[-1] == (str(path), 4, "module", NO_SOURCE)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\t\tx = {\t'a':1}", "x = { 'a':1}"),
        ("at foo (bar)", "at\u00a0 foo (bar)"),
        ("x = y    at foo (bar:1:2)", "x = y    at\u00a0 foo (bar:1:2)"),
        ('File "a.py", line 3, in b', 'File\u00a0 "a.py", line 3, in b'),
        ("x = '  File \"a.py\", line 3, in b'", "x = '  File\u00a0 \"a.py\", line 3, in b'"),
        ("foo@http://host/a.js:1:2", "foo@http://host/a.js\u00a0:1:2"),
        ("runtime.gopanic", "runtime.gopanic\u00a0"),
        ("  ^^~^", "^^~^\u00a0"),
        ("  \x0c  ", "\\x0c"),
        ("a\x0bb\x1cc\x85d\u2028e", "a\\x0bb\\x1cc\\x85d\\u2028e"),
        ("\udc80", "\\udc80"),
        ("", NO_SOURCE),
        (" \t ", NO_SOURCE),
        ("y" * 5000, "y" * 500),
        (" " * 5000 + "y", NO_SOURCE),
    ],
)
def test_a_source_line_is_one_line_and_is_taken_for_nothing_else(line, shown):
    filename = f"<line {line!a}>"[:200] + ">"
    linecache.cache[filename] = (1, None, [line + "\n", "\udcff\n", "z" * 10_000], filename)

    text = describe(caught(run, "1 / 0\n", filename))

    [block] = check(text)
    assert block.frames[-1][3] == shown
    assert len(json.loads(text.structured)[0]["linesAfter"]) <= 2 * 500 + 1


def test_long_lines_all_around_do_not_make_the_structured_frames_too_long():
    filename = "<long lines>"
    linecache.cache[filename] = (1, None, ["🦉" * 1000 + "\n"] * 200, filename)
    error = None
    for number in range(10):
        link = caught(run, "\n" * (10 + number) + "1 / 0\n", filename)
        link.__context__ = error
        error = link

    assert 2 <= len(json.loads(describe(error).structured)) < 20


def frame_without_a_line():
    frame = caught(throw, ValueError()).__traceback__.tb_next.tb_frame
    return types.TracebackType(None, frame, 1_000_000, -1)


def test_an_instruction_without_a_line_has_that_of_its_function():
    traceback = frame_without_a_line()

    [block] = check(describe(ValueError("m").with_traceback(traceback)))

    assert block.frames[0][2] == "throw"
    if traceback.tb_lineno in (None, -1):
        assert block.frames[0][1] == throw.__code__.co_firstlineno


def test_an_exception_that_was_never_raised_has_no_frames():
    text = describe(ValueError("m"))

    assert text.stacktrace == f"{HEADER}\nValueError: m\n"
    assert text.structured == "[]"


# --- our own frames


@pytest.fixture
def ours():
    """A function of the agent's that calls another."""
    code = compile(
        "def call(function, *arguments):\n    return function(*arguments)\n",
        os.path.join(os.path.dirname(tracebacks.__file__), "imaginary.py"),
        "exec",
    )
    names = {}
    exec(code, names)
    return names["call"]


def test_frames_of_the_agent_are_left_out(ours):
    text = describe(caught(ours, throw, ValueError("m")))

    [block] = check(text)
    assert [frame[2] for frame in block.frames] == ["caught", "throw"]
    assert [frame["functionName"] for frame in json.loads(text.structured)] == ["throw", "caught"]


def test_frames_of_the_agent_are_shown_if_there_is_no_other(ours):
    error = caught(ours, int, "x")
    error.__traceback__ = error.__traceback__.tb_next

    text = describe(error)

    [block] = check(text)
    assert [frame[2] for frame in block.frames] == ["call"]
    assert [frame["functionName"] for frame in json.loads(text.structured)] == ["call"]


# --- memory


def test_what_is_remembered_is_bounded():
    for number in range(1500):
        describe(caught(run, "1 / 0\n", f"/no/such/{number}.py"))

    assert len(tracebacks._frames) <= 1000
    assert len(tracebacks._sources) <= 1000
