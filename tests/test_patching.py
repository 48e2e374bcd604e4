"""A wrapped function stays what it was, whatever its hook does."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import pickle
import signal
import sys
import types
import weakref

import pytest
import wrapt

from highlight_autoinstrument import guard, patching


class Library:
    """Stands for any library's class: functions of each kind."""

    def plain(self, url: str, /, method: str = "GET", *rest: object, timeout: int = 1, **options: object) -> tuple:
        """Its own docstring."""
        return (url, method, rest, timeout, options)

    async def coroutine(self, url: str) -> str:
        await asyncio.sleep(0)
        return url

    @classmethod
    def of_class(cls, value: int) -> tuple:
        return cls, value

    @staticmethod
    def of_nobody(value: int) -> int:
        return value

    def failing(self, error: BaseException) -> None:
        raise error


class Child(Library):
    pass


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """The guard as users have it: a failure is said, and goes no further."""
    lines = []
    monkeypatch.setattr(guard, "raises", False)
    monkeypatch.setattr(guard, "_said", set())
    monkeypatch.setattr(guard, "_sink", lines.append)
    return lines


@pytest.fixture
def library():
    """A copy of the class, so that each test patches its own."""
    return type("Library", (), {**vars(Library), "__module__": __name__, "__qualname__": "Library"})


def nothing(call):
    yield


def test_a_wrapped_function_is_still_that_function(library):
    bare = library.plain
    patching.wrap(library, "plain", nothing)

    assert isinstance(library.plain, types.FunctionType)
    assert library.plain is not bare
    assert inspect.signature(library.plain) == inspect.signature(bare)
    assert (library.plain.__name__, library.plain.__qualname__, library.plain.__doc__) == (
        "plain",
        "Library.plain",
        "Its own docstring.",
    )
    assert library().plain("u", "POST", 1, 2, timeout=3, x=4) == ("u", "POST", (1, 2), 3, {"x": 4})


def test_a_wrapped_coroutine_function_is_still_one(library):
    patching.wrap(library, "coroutine", nothing)

    assert inspect.iscoroutinefunction(library.coroutine)
    running = library().coroutine("u")
    assert (running.__name__, running.__qualname__) == ("coroutine", "Library.coroutine")
    assert asyncio.run(running) == "u"


def test_class_and_static_methods_stay_what_they_are(library):
    patching.wrap(library, "of_class", nothing)
    patching.wrap(library, "of_nobody", nothing)

    assert isinstance(vars(library)["of_class"], classmethod)
    assert isinstance(vars(library)["of_nobody"], staticmethod)
    assert library.of_class(1) == (library, 1)
    assert library().of_nobody(2) == 2


def test_a_wrapped_function_can_be_pickled(monkeypatch):
    monkeypatch.setattr(Library, "plain", Library.plain)
    patching.wrap(Library, "plain", nothing)

    assert pickle.loads(pickle.dumps(Library.plain)) is Library.plain


def test_an_inherited_function_is_wrapped_for_the_class_alone():
    try:
        patching.wrap(Child, "plain", nothing)

        assert "__highlight__" in Child.plain.__dict__
        assert "__highlight__" not in Library.plain.__dict__
    finally:
        del Child.plain


def test_what_is_wrapped_already_and_what_is_not_there_are_left_alone(library):
    patching.wrap(library, "plain", nothing)
    wrapped = library.plain
    patching.wrap(library, "plain", nothing)
    patching.wrap(library, "absent", nothing)

    assert library.plain is wrapped
    assert not hasattr(library, "absent")


def test_a_built_in_is_wrapped_by_wrapt_and_stays_one():
    owner = types.SimpleNamespace(__name__="owner", length=len)
    seen = []

    def hook(call):
        seen.append(call["obj"])
        yield

    patching.wrap(owner, "length", hook)

    assert owner.length([1, 2]) == 2
    assert seen == [[1, 2]]
    assert isinstance(owner.length, types.BuiltinFunctionType)


class Result:
    """What a weak reference can be made to."""


def kept():
    """Return a result from a frame that keeps itself, as one does that has an exception in a local variable."""
    try:
        raise KeyError
    except KeyError as error:
        problem = error  # noqa: F841 - on purpose
    return Result()


async def kept_coroutine():
    try:
        raise KeyError
    except KeyError as error:
        problem = error  # noqa: F841 - on purpose
    await asyncio.sleep(0)
    return Result()


def none_of_it(call):
    return
    yield


@pytest.mark.parametrize("hook", [nothing, none_of_it])
@pytest.mark.parametrize("function", [kept, kept_coroutine, functools.partial(kept), functools.partial(kept_coroutine)])
def test_a_result_that_the_caller_drops_is_gone(function, hook):
    owner = types.SimpleNamespace(__name__="owner", call=function)
    patching.wrap(owner, "call", hook)
    gc.disable()
    try:
        if inspect.iscoroutinefunction(function):

            async def main():
                return weakref.ref(await owner.call())

            reference = asyncio.run(main())
        else:
            reference = weakref.ref(owner.call())
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("args", "kwargs"), [(("u", "POST"), {}), (("u",), {"method": "POST"}), (("u",), {"method": "POST", "timeout": 1})]
)
def test_a_hook_reads_and_replaces_an_argument_however_it_was_passed(library, args, kwargs):
    given = dict(kwargs)

    def hook(call):
        assert call["method"] == "POST"
        assert call.get("absent", "default") == "default"
        assert (call.takes("method"), call.takes("absent")) == (True, False)
        call["method"] = "PUT"
        yield

    patching.wrap(library, "plain", hook)

    assert library().plain(*args, **kwargs) == ("u", "PUT", (), 1, {})
    assert kwargs == given


def test_a_hook_knows_the_arguments_of_a_built_in_that_does_not_tell_them():
    class Words(dict):
        pass

    def hook(call):
        call["default"] = call["key"].upper()
        yield

    patching.wrap(Words, "pop", hook, ("key", "default"))

    assert (Words().pop("a", "b"), Words().pop("c", "d")) == ("A", "C")


@pytest.mark.parametrize("bound", [True, False])
def test_a_hook_knows_the_arguments_of_a_compiled_method(bound):
    library = type("Library", (dict,), {"get": dict.get})
    seen = []

    def hook(call):
        seen.append((call.instance, call["key"], call.get("default")))
        call["key"] = "b"
        yield

    patching.wrap(library, "get", hook)
    of = library(a=1, b=2)

    assert (of.get("a", 5) if bound else library.get(of, "a", 5)) == 2
    assert seen == [(of, "a", 5)]


def test_a_hook_adds_an_argument_that_was_not_given(library):
    def hook(call):
        call["timeout"] = 9
        yield

    patching.wrap(library, "plain", hook)

    assert library().plain("u") == ("u", "GET", (), 9, {})


def test_a_hook_knows_the_arguments_of_a_decorated_function(library):
    plain = library.plain

    @functools.wraps(plain)
    def decorated(*args, **kwargs):
        return plain(*args, **kwargs)

    library.plain = decorated

    def hook(call):
        call["method"] = call["method"].lower()
        yield

    patching.wrap(library, "plain", hook)

    assert library().plain("/", "POST") == ("/", "post", (), 1, {})


def test_a_hook_sees_the_result_and_may_replace_it(library):
    def hook(call):
        result = yield
        return [result]

    patching.wrap(library, "of_nobody", hook)

    assert library.of_nobody(1) == [1]


def test_a_hook_that_returns_before_the_yield_is_not_asked_again(library):
    def hook(call):
        return
        yield

    patching.wrap(library, "of_nobody", hook)

    assert library.of_nobody(1) == 1


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), StopIteration(1), GeneratorExit(), StopAsyncIteration()]
)
def test_the_exception_stays_the_applications(library, quiet, error):
    seen = []

    def hook(call):
        try:
            yield
        except BaseException as raised:
            seen.append(raised)
            raise

    patching.wrap(library, "failing", hook)
    cause = error.__cause__ = OSError("its own")

    with pytest.raises(type(error)) as caught:
        library().failing(error)

    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    names = [entry.name for entry in caught.traceback]
    # No frame of ours in the application's traceback; Python 3.10 insists on it.
    assert ("wrapper" in names) == (sys.version_info < (3, 11))
    assert names[-1] == "failing"
    assert seen == [error] or isinstance(error, StopIteration)
    assert quiet == []


def test_a_hook_that_swallows_the_exception_cannot(library):
    def hook(call):
        try:
            yield
        except ValueError:
            return

    patching.wrap(library, "failing", hook)

    with pytest.raises(ValueError, match="x"):
        library().failing(ValueError("x"))


def test_a_call_that_lacks_an_argument_fails_as_ever(library, quiet):
    def hook(call):
        call["value"]
        yield

    patching.wrap(library, "of_nobody", hook)

    with pytest.raises(TypeError, match="value"):
        library.of_nobody()
    assert library.of_nobody(1) == 1
    assert quiet == []


def broken_before(call):
    raise RuntimeError("before")
    yield


def broken_after(call):
    yield
    raise RuntimeError("after")


def broken_at_exception(call):
    try:
        yield
    except BaseException:  # noqa: BLE001 - whatever was raised is raised as another
        raise RuntimeError("at the exception") from None


def yields_twice(call):
    yield
    yield


@pytest.mark.parametrize("hook", [broken_before, broken_after, yields_twice])
def test_a_hook_that_fails_is_said_once_and_off(library, quiet, hook):
    patching.wrap(library, "of_nobody", hook)

    assert [library.of_nobody(number) for number in range(3)] == [0, 1, 2]
    assert len(quiet) == 1
    assert "Library.of_nobody is off: RuntimeError" in quiet[0]
    assert "HIGHLIGHT_DISABLED_INTEGRATIONS=" in quiet[0]


def test_a_hook_that_fails_at_an_exception_is_off_and_the_exception_passes(library, quiet):
    patching.wrap(library, "failing", broken_at_exception)

    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            library().failing(ValueError("x"))
    assert len(quiet) == 1


@pytest.mark.parametrize("hook", [broken_before, broken_after])
def test_a_hook_around_a_coroutine_fails_as_quietly(library, quiet, hook):
    patching.wrap(library, "coroutine", hook)

    assert [asyncio.run(library().coroutine("u")) for _ in range(2)] == ["u", "u"]
    assert len(quiet) == 1


def test_in_tests_a_failure_is_raised(library, monkeypatch):
    monkeypatch.setattr(guard, "raises", True)
    patching.wrap(library, "of_nobody", broken_before)

    with pytest.raises(RuntimeError, match="before"):
        library.of_nobody(1)


def test_a_guarded_callback_that_fails_is_said_once_and_off(quiet):
    calls = []

    @patching.guarded
    def callback(value):
        calls.append(value)
        raise RuntimeError("broken")

    assert [callback(1), callback(2)] == [None, None]
    assert calls == [1]
    assert len(quiet) == 1


def test_a_hook_around_another_agents_wrapper_leaves_it_its_instance(library):
    wrapped = []

    def other(function, instance, args, kwargs):
        wrapped.append(instance)
        return function(*args, **kwargs)

    library.plain = wrapt.FunctionWrapper(library.plain, other)
    seen = []

    def hook(call):
        seen.append((call.instance, call["url"]))
        call["method"] = "PUT"
        yield

    patching.wrap(library, "plain", hook)
    of = library()

    assert of.plain("u") == ("u", "PUT", (), 1, {})
    assert seen == [(of, "u")]
    assert wrapped == [of]


def test_what_a_signals_handler_raises_within_a_hook_is_the_applications(library, quiet):
    class TooLateError(Exception):
        pass

    def late(*_, reason="the time is up"):
        raise TooLateError(reason)

    def hook(call):
        signal.raise_signal(signal.SIGUSR1)
        yield

    patching.wrap(library, "plain", hook)
    callback = patching.guarded(lambda: signal.raise_signal(signal.SIGUSR1))
    before = signal.signal(signal.SIGUSR1, late)
    try:
        for _ in range(2):  # and does not switch it off
            with pytest.raises(TooLateError):
                library().plain("u")
            with pytest.raises(TooLateError):
                callback()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert quiet == []


def test_a_replacement_keeps_the_functions_looks(library):
    def make(function):
        def wrapper(self, *args, **kwargs):
            return ("seen", function(self, *args, **kwargs))

        return wrapper

    bare = library.plain
    patching.replace(library, "plain", make)
    patching.replace(library, "plain", make)

    assert library().plain("u")[0] == "seen"
    assert library().plain("u")[1][0] == "u"
    assert inspect.signature(library.plain) == inspect.signature(bare)


class Wrapper:
    """Another agent's: an object that binds."""

    def __init__(self, function):
        self.function = function

    def __get__(self, instance, owner=None):
        return functools.partial(self.function, instance)

    def __call__(self, *args, **kwargs):
        raise AssertionError("called without its instance")


class Unbound:
    """A callable that does not bind, as a mock."""

    def __call__(self, *args, **kwargs):
        return args, kwargs


def passing(function):
    def passed(self, *args, **kwargs):
        try:
            return function(self, *args, **kwargs)
        except BaseException as error:
            patching.hide_frame(error, __file__)
            raise

    return passed


def test_what_is_replaced_is_called_as_a_class_would_call_it(library):
    library.bound = Wrapper(lambda self, *args, **kwargs: (type(self), args, kwargs))
    library.wrapped = wrapt.FunctionWrapper(
        library.plain, lambda _, instance, args, kwargs: (type(instance), args, kwargs)
    )
    library.unbound = Unbound()
    for name in ("bound", "wrapped", "unbound"):
        patching.replace(library, name, passing)

    assert library().bound(1, instance=2) == (library, (1,), {"instance": 2})
    assert library().wrapped("u", instance=2) == (library, ("u",), {"instance": 2})
    assert library().unbound(1, instance=2) == ((1,), {"instance": 2})


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 puts frames back")
def test_what_is_bound_leaves_no_frame_of_ours(library):
    def fail(_):
        raise ValueError

    library.bound = Wrapper(fail)
    patching.replace(library, "bound", passing)
    with pytest.raises(ValueError) as caught:
        library().bound()
    assert [entry.name for entry in caught.traceback][1:] == ["fail"]
