"""Wrapping a call with a hook: a generator that runs to its `yield`, lets the call happen, and sees its outcome.

One that only looks at the call before it happens is a plain function.

The driver makes the call, so that a hook can neither skip, repeat nor break it; and it holds the guard, so that no
integration needs one. A hook that fails is off from then on.
"""

from __future__ import annotations

import functools
import inspect
import sys
from types import FunctionType, MethodDescriptorType, WrapperDescriptorType
from typing import Any

from . import guard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import FrameType

    Hook = Callable[["Call"], Generator[None, Any, Any] | None]

_MISSING: Any = object()

# What Python itself reads of an exception, and sets: its class may answer these names in ways of its own. The cause
# comes before what setting it changes as well.
_FIELDS: tuple[Any, ...] = tuple(
    BaseException.__dict__[name] for name in ("__traceback__", "__cause__", "__context__", "__suppress_context__")
)

# Methods that are called with their instance first. Another agent's wrapper has to be bound to it, even where it says
# that its class is one of these.
_TAKE_THE_INSTANCE = (FunctionType, MethodDescriptorType, WrapperDescriptorType)


class MissingArgumentError(Exception):
    """A call without an argument that it needs: its function is about to say so itself."""


class Call:
    """One call of a wrapped function: its arguments by name, however they were passed, and what it is bound to."""

    __slots__ = ("_parameters", "args", "instance", "kwargs")

    def __init__(self, parameters: dict[str, int], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._parameters = parameters
        self.args = args
        self.kwargs = kwargs
        self.instance: Any = args[0] if args else None

    def get(self, name: str, default: Any = None) -> Any:
        """The argument of that name, or `default` where the caller left it out."""
        if name in self.kwargs:
            return self.kwargs[name]
        position = self._parameters.get(name, -1)
        return self.args[position] if 0 <= position < len(self.args) else default

    def takes(self, name: str) -> bool:
        """Whether there is a parameter of that name: some are younger than the oldest version."""
        return name in self._parameters

    def __getitem__(self, name: str) -> Any:
        value = self.get(name, _MISSING)
        if value is _MISSING:
            raise MissingArgumentError(name)
        return value

    def __setitem__(self, name: str, value: object) -> None:
        position = self._parameters.get(name, -1)
        if 0 <= position < len(self.args):
            self.args = (*self.args[:position], value, *self.args[position + 1 :])
        else:
            self.kwargs = {**self.kwargs, name: value}  # a copy: `**options` may be the caller's own


class Switch:
    """A hook with the name that the user knows it by; it goes off when it fails."""

    __slots__ = ("hook", "on", "part")

    def __init__(self, part: str, hook: Callable[..., Any]) -> None:
        self.part = part
        self.hook = hook
        self.on = True

    def fail(self, error: BaseException) -> None:
        """Switch off and say so; what is no failure of ours is left to `guard.exhausted`."""
        try:
            if guard.exhausted(error):
                return
            self.on = False
            integration = self.hook.__module__.rpartition(".")[2]
            guard.failed(
                self.part,
                error,
                f"the application runs on without it (HIGHLIGHT_DISABLED_INTEGRATIONS={integration} silences this)",
            )
        finally:
            del error  # whose traceback may have this frame

    def enter(
        self, parameters: dict[str, int], args: tuple[Any, ...], kwargs: dict[str, Any], instance: Any = _MISSING
    ) -> tuple[Generator[None, Any, Any] | None, tuple[Any, ...], dict[str, Any]]:
        """Run the hook up to its `yield`; None for it where it does not want this call. And what to call with."""
        if self.on:
            try:
                call = Call(parameters, args, kwargs)
                if instance is not _MISSING:
                    call.instance = instance
                running = self.hook(call)
                if running is not None:
                    next(running)
            except (StopIteration, MissingArgumentError):
                pass
            except Exception as error:  # noqa: BLE001 - the guard
                try:
                    self.fail(error)
                except RecursionError as deeper:  # not even that can be called any more
                    if deeper is error:
                        raise
            else:
                return running, call.args, call.kwargs
        return None, args, kwargs

    def after(self, running: Generator[None, Any, Any], result: Any) -> Any:
        """Resume the hook with the call's result, and return that or what the hook has put in its place."""
        try:
            running.send(result)
        except StopIteration as stop:
            return result if stop.value is None else stop.value
        except Exception as error:  # noqa: BLE001 - the guard
            try:
                self.fail(error)
            except RecursionError as deeper:
                if deeper is error:
                    raise
            return result
        self.fail(RuntimeError("a hook must yield once"))
        return result

    def raised(self, running: Generator[None, Any, Any] | None, error: BaseException) -> None:
        """Resume the hook with the exception that the call raised; the exception stays the application's."""
        hide_frame(error, __file__)
        if running is None:
            return
        # Passing through the generator would leave its frames in the traceback, and more in the context.
        kept = [field.__get__(error) for field in _FIELDS]
        try:
            running.throw(error)
        except StopIteration:
            pass
        except BaseException as outcome:  # noqa: BLE001 - compared below
            if outcome is not error and not _wraps(outcome, error):
                try:
                    self.fail(outcome)
                except RecursionError as deeper:
                    if deeper is outcome:
                        raise
        else:
            self.fail(RuntimeError("a hook must yield once"))
        finally:
            for field, value in zip(_FIELDS, kept):  # noqa: B905 - as many
                field.__set__(error, value)


def _wraps(outcome: BaseException, error: BaseException) -> bool:
    """Whether this is how a StopIteration comes back."""
    return issubclass(type(outcome), RuntimeError) and _FIELDS[1].__get__(outcome) is error


def wrap(owner: Any, name: str, hook: Hook, parameters: Sequence[str] = ()) -> None:
    """Wrap the function `name` of a class or module with a hook; what is absent or already wrapped is left alone.

    A plain function stays one (signature, pickling, `iscoroutinefunction`, descriptors); whatever else is callable
    is wrapped by wrapt. `parameters` are the names of a built-in one's that does not tell them itself.
    """
    found = _lookup(owner, name)
    part = f"{getattr(owner, '__module__', '') + '.' if isinstance(owner, type) else ''}{owner.__name__}.{name}"
    if found is _MISSING:
        guard.debug(f"{part}: not patched, this version has no such function")
        return
    function = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
    if getattr(function, "__highlight__", None) is hook:
        return
    wrapper = hooked(function, hook, part, parameters)
    setattr(owner, name, type(found)(wrapper) if function is not found else wrapper)
    guard.debug(f"{part}: patched")


def _lookup(owner: Any, name: str) -> Any:
    for place in owner.__mro__ if isinstance(owner, type) else (owner,):
        if name in vars(place):
            return vars(place)[name]
    return _MISSING


def hooked(function: Callable[..., Any], hook: Hook, part: str, parameters: Sequence[str] = ()) -> Callable[..., Any]:
    """Return `function` with a hook around each call."""
    switch = Switch(part, hook)
    if type(function) is not FunctionType:  # another agent's wrapper says that it is one, and has to know its instance
        return _hooked_object(function, switch, parameters)
    positions = _positions(function)
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            running, args, kwargs = switch.enter(positions, args, kwargs)
            try:
                if running is None:
                    return await function(*args, **kwargs)
                result = await function(*args, **kwargs)
            except BaseException as error:
                switch.raised(running, error)
                raise
            try:
                return switch.after(running, result)
            finally:
                del result  # what keeps the call's frame keeps this one: an exception in a local variable does

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            running, args, kwargs = switch.enter(positions, args, kwargs)
            try:
                if running is None:
                    return function(*args, **kwargs)
                result = function(*args, **kwargs)
            except BaseException as error:
                switch.raised(running, error)
                raise
            try:
                return switch.after(running, result)
            finally:
                del result  # what keeps the call's frame keeps this one: an exception in a local variable does

    functools.update_wrapper(wrapper, function)
    wrapper.__dict__["__highlight__"] = hook
    return wrapper


def hide_frame(error: BaseException, file: str) -> None:
    """Take the frame of ours out of a traceback that begins in it, just before a bare `raise` there.

    The application's traceback is then as long as without us; Python 3.10 puts the frame back.
    """
    traceback = _FIELDS[0].__get__(error)
    if traceback is not None and traceback.tb_frame.f_code.co_filename == file:
        _FIELDS[0].__set__(error, traceback.tb_next)


def _positions(function: FunctionType) -> dict[str, int]:
    # A decorator that hands on whatever it is given: the names are those of what it decorates.
    while function.__code__.co_argcount == 0 and isinstance(getattr(function, "__wrapped__", None), FunctionType):
        function = function.__dict__["__wrapped__"]
    code = function.__code__
    return {name: position for position, name in enumerate(code.co_varnames[: code.co_argcount])}


def _hooked_object(function: Callable[..., Any], switch: Switch, names: Sequence[str] = ()) -> Callable[..., Any]:
    """The same for what is no plain function (built-in, callable object), by wrapt: it stays what it was for others."""
    import wrapt

    if not names:
        try:
            names = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            pass
        if names[:1] == ["self"]:  # a compiled method: what it is bound to is not among the arguments here
            names = names[1:]
    parameters = {name: position for position, name in enumerate(names)}
    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(function):  # a bound method, a partial

        async def wrapper(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
            running, args, kwargs = switch.enter(parameters, args, kwargs, instance)
            try:
                if running is None:
                    return await wrapped(*args, **kwargs)
                result = await wrapped(*args, **kwargs)
            except BaseException as error:
                switch.raised(running, error)
                raise
            try:
                return switch.after(running, result)
            finally:
                del result  # what keeps the call's frame keeps this one: an exception in a local variable does

    else:

        def wrapper(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
            running, args, kwargs = switch.enter(parameters, args, kwargs, instance)
            try:
                if running is None:
                    return wrapped(*args, **kwargs)
                result = wrapped(*args, **kwargs)
            except BaseException as error:
                switch.raised(running, error)
                raise
            try:
                return switch.after(running, result)
            finally:
                del result  # what keeps the call's frame keeps this one: an exception in a local variable does

    return wrapt.FunctionWrapper(function, wrapper)


def standing_for(function: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what is `function` to whoever looks at it, and when it is called does `call(function, ...)`."""
    import wrapt

    def wrapper(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        try:
            return call(wrapped, *args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return wrapt.FunctionWrapper(function, wrapper)


def guarded(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Guard a callback that a library calls itself (a signal's receiver, a sink): it returns None when it fails."""
    part = f"{callback.__module__.rpartition('.')[2]}.{callback.__name__}"
    on = True

    @functools.wraps(callback)
    def guarded_call(*args: Any, **kwargs: Any) -> Any:
        nonlocal on
        if on:
            try:
                return callback(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - the guard
                try:
                    if not guard.exhausted(error):
                        on = False
                        guard.failed(part, error, "the application runs on without it")
                except RecursionError as deeper:
                    if deeper is error:
                        raise
        return None

    return guarded_call


def replace(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a function by `make(function)`, for hot paths that cannot pay for a hook.

    What `make` returns has to guard itself, and to let the application's exceptions pass.
    """
    found = _lookup(owner, name)
    part = f"{owner.__name__}.{name}"
    if found is _MISSING:
        guard.debug(f"{part}: not patched, this version has no such function")
    elif getattr(found, "__highlight__", None) is not make:
        function = _bound(found) if isinstance(owner, type) and type(found) not in _TAKE_THE_INSTANCE else found
        made = make(function)
        if type(made) is not FunctionType:
            raise TypeError(made)  # before it becomes the library's
        wrapper = functools.update_wrapper(made, found)
        wrapper.__highlight__ = make  # type: ignore[attr-defined]
        setattr(owner, name, wrapper)
        guard.debug(f"{part}: patched")


def _bound(method: Any) -> Callable[..., Any]:
    """What is called as a function is, with the instance first, as Python calls this attribute of a class."""
    binds = hasattr(type(method), "__get__")

    def call(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            return (method.__get__(instance, type(instance)) if binds else method)(*args, **kwargs)
        except BaseException as error:
            hide_frame(error, __file__)
            raise

    return call


class Watched:
    """An attribute of a class's instances that a hook sees, and may exchange, when certain functions read it."""

    __slots__ = ("codes", "hook", "name", "on", "part")

    def __init__(self, part: str, name: str, codes: tuple[Any, ...], hook: Callable[[Any, FrameType], Any]) -> None:
        self.part = part
        self.name = name
        self.codes = codes
        self.hook = hook
        self.on = True

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            value = instance.__dict__[self.name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}") from None
        frame = sys._getframe(1)  # noqa: SLF001 - who reads
        if frame.f_code in self.codes and self.on:
            try:
                return self.hook(value, frame)
            except Exception as error:  # noqa: BLE001 - the guard
                try:
                    if not guard.exhausted(error):
                        self.on = False
                        guard.failed(self.part, error, "the application runs on without it")
                except RecursionError as deeper:
                    if deeper is error:
                        raise
        return value

    def __set__(self, instance: Any, value: object) -> None:
        instance.__dict__[self.name] = value

    def __delete__(self, instance: Any) -> None:
        try:
            del instance.__dict__[self.name]
        except KeyError:
            raise AttributeError(self.name) from None


def on_read(owner: type, name: str, function: Any, hook: Callable[[Any, FrameType], Any]) -> None:
    """Have `hook(value, frame)` give the value when `function` reads the attribute `name` of an instance of `owner`.

    There may be a tuple of functions; those that this version does not have are None.

    For functions that find their callers by counting frames: the hook has returned before they go on, so that neither
    they nor what they call ever has a frame of ours on its stack.
    """
    part = f"{owner.__module__}.{owner.__name__}.{name}"
    found = [getattr(each, "__code__", None) for each in (function if isinstance(function, tuple) else (function,))]
    codes = tuple(code for code in found if code is not None and name in code.co_names)
    if not codes or name in vars(owner):
        guard.debug(f"{part}: not patched, this version does not read it, or it has been patched")
        return
    setattr(owner, name, Watched(part, name, codes, hook))
    guard.debug(f"{part}: patched")
