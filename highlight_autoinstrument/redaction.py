"""Secrets, taken out of every text that is sent: known by their names, by their place in a URL, or by their form.

All of it takes time in proportion to the text, whatever that is, and changes nothing but what it replaces.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from json import JSONEncoder, loads
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from .origins import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Clean = Callable[[str], str]

PLACEHOLDER = "REDACTED"  # OpenTelemetry's word for it; a URL can hold it

# What a name ends in whose value is a secret. These say so behind any other word (`db_password`, `accessToken`);
_ENDINGS = (
    *("password", "passwd", "passphrase", "passcode", "secret", "token", "token_hint", "credential", "credentials"),
    *("authorization", "cookie", "jwt"),
)
# so does `key` behind one of these, also as `api_key`, `api key` and `access_key_id`;
_OF_KEYS = (
    *("api", "access", "secret", "private", "signing", "encryption", "account", "auth", "master", "service"),
    *("session", "storage", "subscription"),
)
# these do alone, or behind a sign: `mysql_pwd`;
_WORDS = ("pwd", "otp")
# these before a `=`: what signs a request, and cookies that are logins;
_ASSIGNED = ("signature", "pass", "auth", "cookies", "phpsessid", "jsessionid", "sessionid", "sessid", "connect.sid")
# and these in a query and among cookies only: Google's `key`, and what a login comes back with.
_PARAMETERS = (
    *("key", "code", "code_verifier", "sig", "session", "sid", "pw", "ticket", "samlresponse", "samlrequest"),
    *("assertion", "client_assertion"),
)


def _alone(word: str) -> str:
    """A word that is not the end of another one. What stands before is looked at last: a literal is found fast."""
    return f"{re.escape(word)}(?<![a-z]{re.escape(word)})"


def _parameter(word: str) -> str:
    name = re.escape(word)
    return f"{name}(?:(?<=[?&;]{name})|(?<=; {name})|(?<=%26{name})|(?<=%3f{name}))"


_ANYWHERE = [*_ENDINGS, *(f"{word}[-_ ]?key(?:[-_]?id)?" for word in _OF_KEYS)]
_NAMES = "|".join([*_ANYWHERE, *map(_alone, _WORDS + _ASSIGNED), *map(_parameter, _PARAMETERS)])
_SECRET_KEY = re.compile(rf"(?:{'|'.join([*_ANYWHERE, *map(_alone, (*_WORDS, 'pass', 'cookies'))])})\Z")
_SECRET_PARAMETER = re.compile(
    rf"(?:{'|'.join([*_ANYWHERE, *map(_alone, _WORDS + _ASSIGNED)])}|(?<![\w.-])(?:{'|'.join(_PARAMETERS)}))\Z"
)
_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})

# Keys of our own, whose values are numbers, ids, or words of a closed set.
_HARMLESS = frozenset(
    {
        *("http.request.method", "http.method", "url.scheme", "http.response.status_code", "http.status_code"),
        *("server.port", "messaging.system", "messaging.operation.name", "messaging.operation.type", "rpc.system"),
        *("code.line.number", "telemetry.sdk.name", "telemetry.sdk.language", "telemetry.sdk.version"),
        *("telemetry.distro.name", "telemetry.distro.version"),
    }
)

# --- where a secret stands in a text; these patterns are for a text in lower case

_CLOSE = r"(?:[\\\"'\]]|%5d){0,6}"
_SIGN = r"[!:=]?=[=>]?|:|%(?:25){0,3}3[ad]"


def _site(names: str) -> re.Pattern[str]:
    """A secret's name, up to where its value begins."""
    return re.compile(
        rf"(?P<name>{names}){_CLOSE}"
        rf"(?:[ \t]{{0,8}}(?P<sign>{_SIGN})[ \t]{{0,8}}|(?P<pair>,[ \t]{{0,8}})(?=b?[\\\"'])|(?P<gap>[ \t]{{1,8}}))"
    )


_OPTION = re.compile(r"--[\w-]*\Z")
_PAIR = re.compile(r"\(b?[\"'][\w-]*\Z")
_IN_QUERY = re.compile(r"(?:[?&]|%26|%3f)[\w.%\[\]-]*\Z")
_CLASS = re.compile(r"\.[A-Z]\w*\Z|(?:Invalid|Expired|Missing|Bad|Wrong|Unknown|Revoked|Malformed|Incorrect|Weak)\Z")
_MOST_OF_LINE = 500
_BEFORE = 60  # characters before a name that say what it is part of

# --- and what its value is

_QUOTE = re.compile(r"[bBrRfFuU]{0,2}(\\*)(\"\"\"|'''|[\"'])")
_WORD = re.compile(r"(?:[^\s,;&\"']|[,;](?!\s|\Z|[\"']?[\w.-]{1,64}[\"']?[ \t]{0,8}[=:])|[\"'](?![\s,;&:)\]}>]|\Z))+")
_PARAMETER = re.compile(r"(?:[^\s;&#\"']|;(?!\s|\Z|[\w.-]{1,64}=)|[\"'](?![\s,;&:)\]}>/]|\Z))+")
_ENCODED = re.compile(r"(?:[^\s;&#\"'<>%]|%(?!(?:25){0,3}2[36]))+")
_LINE = re.compile(r"(?:[^\r\n\"'\\]|[\"'](?![\s,:)\]}]|\Z)|\\(?![rn]))+")
_AUTHORIZATION = re.compile(
    r"[^\s\"',;]+(?:[ \t]{1,4}[^\s\"',;=]+(?:=(?:\"[^\"\n]{0,4000}\"|[^\s\"',;]*))?)?"
    r"(?:,[ \t]{0,4}[\w-]{1,64}=(?:\"[^\"\n]{0,4000}\"|[^\s\"',;]*))*"
)
_TEMPLATE = re.compile(r"\$?\{.*\}|%[sdr]|%\(\w+\)[sdr]|\*+|\.+|<\w+>|x+")
_COUNT = re.compile(r"[0-9]{1,5}")
_LIKE_HEADERS = {"authorization": _AUTHORIZATION, "cookie": _LINE}
_NOT_SAID = frozenset({"auth", "cookies", "pass", "signature"})  # `auth: failed`
_CLOSERS = {"(": ")", "[": "]", "{": "}"}

# Words that stand behind `password:` and are none, and types in a signature.
_PROSE = frozenset(
    {
        *("a", "an", "any", "are", "as", "at", "be", "can", "cannot", "could", "does", "for", "from", "had", "has"),
        *("have", "if", "in", "is", "it", "may", "must", "no", "not", "of", "on", "or", "please", "should", "that"),
        *("the", "this", "too", "was", "with", "your", "enter", "ensure", "field", "input", "value", "ok", "yes"),
        *("bad", "empty", "expected", "expired", "failed", "incorrect", "invalid", "missing", "required"),
        *("unexpected", "unknown", "unsupported", "wrong", "false", "true", "nil", "none", "null", "undefined"),
        *("bool", "bytes", "dict", "int", "list", "object", "optional", "secretstr", "str", "string"),
    }
)
_OF_BEARER = _PROSE | {
    *("auth", "authentication", "authorization", "error", "format", "header", "prefix", "realm", "scheme", "scope"),
    *("and", "token", "tokens", "type"),
}

# --- what is a secret wherever it stands

_USERINFO = re.compile(
    r"//(?:((?:[^\s/?#\"'<>]|[\"'](?![\s,;:)\]}]|\Z))+)@"
    # A slash or a question mark in a password, where no port can be meant.
    r"|([^\s/?#\"'<>:@\[]{0,100}:(?!\{|[0-9]{0,5}(?:[/?#,;&)\s]|\Z))[^\s\"'<>@]{1,200})@(?=[\w\[]))"
)
_USERINFO_ENCODED = re.compile(r"(%2[fF]%2[fF])(?:[^\s%&#\"'<>]|%(?!2[fF36]|3[fF]|40))+%40")
# A long text may have been cut before the `@`.
_USERINFO_CUT = re.compile(r"//[^\s/?#@\"'<>\[\]{}:]{1,200}:(?!\d*\Z)[^\s/?#@\"'<>]{1,200}\Z")
_CUT = 300
_BEARER = re.compile(r"\b([bB](?:earer|EARER)(?:[ \t]{1,4}|%20|\+))([^\s\"',;<>&]+)")
_BASIC = re.compile(r"\b([bB](?:asic|ASIC)(?:[ \t]{1,4}|%20|\+))([\w+/-]{4,}={0,2})")
# A parameter of a URL whose name is written in percent.
_ESCAPED = re.compile(r"(?<=[?&])([\w.\[\]-]{0,40}%[\w%.\[\]-]{1,100})=([^\s&#\"'<>;]+)")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*){0,3}")
_KEY_BEGIN = "private key-----"
_KEY_END = "-----end"

# In a long text a word alone is often found. Whether there is a name is looked for by patterns that begin with a
# literal, or with a rare character.
_TAIL = rf"{_CLOSE}[ \t]{{0,8}}(?:[!=:]|%(?:25){{0,3}}3[ad]|,[ \t]{{0,8}}b?[\\\"'])"
_QUOTED = r"[ \t]{1,8}b?[\\\"']"
_LOOKS = tuple(
    (stem, re.compile(look))
    for stem, look in (
        ("pass", rf"pass(?:w(?:or)?d|phrase|code|)(?:{_TAIL}|{_QUOTED})"),
        ("secret", rf"secret(?:{_TAIL}|{_QUOTED})"),
        ("token", rf"token(?:_hint)?{_TAIL}"),
        ("key", rf"key(?:(?<=[a-z]key)|(?<=[a-z][-_ ]key))(?:[-_]?id)?{_TAIL}"),
        ("auth", rf"auth(?:orization)?{_TAIL}"),
        ("cookie", rf"cookies?{_TAIL}"),
        ("credential", rf"credentials?{_TAIL}"),
        ("pwd", rf"pwd{_TAIL}"),
        ("sess", rf"sess(?:ion)?id{_TAIL}"),
        ("sid", rf"connect\.sid{_TAIL}"),
        ("signature", rf"signature{_TAIL}"),
        ("jwt", rf"jwt{_TAIL}"),
        ("otp", rf"otp{_TAIL}"),
        ("=", rf"[?&;] ?(?:{'|'.join(_PARAMETERS)}){_CLOSE}[ \t]{{0,8}}[=%]"),
        ("%", _ESCAPED.pattern),
        ("%26", rf"%26(?:{'|'.join(_PARAMETERS)}){_CLOSE}[=%]"),
        ("%3f", rf"%3f(?:{'|'.join(_PARAMETERS)}){_CLOSE}[=%]"),
        ("--", r"--[\w-]{0,40}(?:pass|secret|token|key|credential|jwt|otp|pwd|cookie|auth)"),
        ("@", _USERINFO.pattern),
        ("%40", _USERINFO_ENCODED.pattern),
        ("earer", r"bearer(?:[ \t]|%20|\+)"),
        ("asic", r"basic(?:[ \t]|%20|\+)"),
        ("eyj", "eyj"),
        (_KEY_BEGIN, _KEY_BEGIN),
    )
)

_FRAME = '  File "'
_NEXT_FRAME = '},{"fileName":'
_ERROR_OF_FRAME = ',"error":'
_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_MOST_STRUCTURED_BYTES = 65_000
_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _lower(text: str) -> str:
    """In lower case, each letter at its place."""
    low = text.lower()
    return low if len(low) == len(text) else text.translate(_LOWER)


def hide(value: Any) -> Any:
    """What stands for the value of a key that is named as a secret: whether there is one may be seen."""
    if value is None or isinstance(value, bool) or (isinstance(value, (str, bytes, list, tuple, dict)) and not value):
        return value
    return [PLACEHOLDER] if isinstance(value, (list, tuple)) else PLACEHOLDER


class Rules:
    """What is taken out: what everybody calls a secret, and what `HIGHLIGHT_REDACT` names.

    An entry of that is a name (`ssn`, `card_*`), whose value goes as a password's would, or a `/regex/`: the value of a
    key that it is found in goes, and of a text what it matches. What begins with `highlight.` always stays.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        names = [entry for entry in entries if not entry.startswith("/")]
        self._patterns = [compiled(entry) for entry in entries if entry.startswith("/")]
        own = [re.escape(name.lower()).replace(r"\*", "{any}") for name in names]
        self._own = re.compile("|".join(own).replace("{any}", ".*"), re.DOTALL) if own else None
        alone = [rf"(?<![\w-]){name.replace('{any}', '[a-z0-9_.-]{0,40}')}" for name in own]
        self._site = _site("|".join([_NAMES, *alone]))
        self._has_own = self.reads_numbers = bool(names or self._patterns)

    # Keys

    def is_secret(self, key: str) -> bool:
        """Whether the value of an attribute goes, whatever it is."""
        if key.startswith("highlight."):
            return False
        low = key.lower()
        if _SECRET_KEY.search(low) is not None or (self._own is not None and self._own.fullmatch(low)):
            return True
        return any(_finds(own, key) for own in self._patterns)

    def is_header(self, name: object) -> bool:
        """Whether something is the name of a header with a secret in it, as in a list of pairs."""
        if isinstance(name, (bytes, bytearray)):
            name = name[:20].decode("latin-1")
        return isinstance(name, str) and name[:20].lower() in _HEADERS

    def of_key(self, key: str) -> Clean | None:
        """What the texts under a key go through; None for those that stay as they are."""
        if key.startswith("highlight."):
            return None
        if self.is_secret(key):
            return hide
        if key == "url.query":
            return self.query
        if key == "exception.structured_stacktrace":
            return self.structured
        return None if key in _HARMLESS and not self._has_own else self.text

    # Texts

    def text(self, value: str) -> str:
        """A text without the secrets in it."""
        # Most texts are short, and hold none of the signs that a secret comes with.
        if (
            "=" not in value
            and ":" not in value
            and '"' not in value
            and "'" not in value
            and "--" not in value
            and "%" not in value
            and "earer" not in value
            and "EARER" not in value
            and "asic" not in value
            and "eyJ" not in value
            and "@" not in value
        ):
            return self._without_own(value) if self._has_own else value
        low = value.lower()
        if (
            len(low) >= _CUT
            or "pass" in low
            or "token" in low
            or "key" in low
            or "secret" in low
            or "auth" in low
            or "sess" in low
            or "sig" in low
            or "sid" in low
            or "cookie" in low
            or "code" in low
            or "@" in low
            or "earer" in low
            or "asic" in low
            or "pw" in low
            or "eyj" in low
            or "%40" in low
            or "credential" in low
            or "otp" in low
            or "jwt" in low
            or "ticket" in low
            or "saml" in low
            or "assertion" in low
        ):
            value = self._cleaned(value, low)
        elif self._own is not None:
            value = self._named(value, is_code=False)
        return self._without_own(value) if self._has_own else value

    def query(self, value: str) -> str:
        """The query of a URL, whose names may be written in percent."""
        parts = value.split("&")
        for index, part in enumerate(parts):
            name, equals, content = part.partition("=")
            if content and content != PLACEHOLDER:
                plain = (unquote_plus(name) if "%" in name or "+" in name else name).lower().rstrip("]")
                if _SECRET_PARAMETER.search(plain) or (self._own is not None and self._own.fullmatch(plain)):
                    parts[index] = name + equals + PLACEHOLDER
        return self.text("&".join(parts))

    def structured(self, value: str) -> str:
        """Frames in JSON, as tracebacks.py makes them."""
        if not self._has_own:
            frames = [frame.rpartition(_ERROR_OF_FRAME) for frame in value.split(_NEXT_FRAME)]
            errors = "".join({error for _, _, error in frames})
            if not _are_suspect([frame for frame, _, _ in frames] + [errors]):
                return value
        try:
            frames = loads(value)
            for frame in frames:
                for name, content in frame.items():
                    if isinstance(content, str):
                        frame[name] = self._of_frame(name, content)
        except (ValueError, RecursionError, TypeError, AttributeError):  # it is the application's own, and anything
            return self.text(value)
        encoded = _encode(frames)
        while len(encoded.encode("utf-8", "replace")) > _MOST_STRUCTURED_BYTES and frames:
            frames.pop()
            encoded = _encode(frames)
        return encoded

    def _of_frame(self, name: str, content: str) -> str:
        if not name.startswith("line"):
            return self.text(content)
        return self._without_own(self._cleaned(content, content.lower(), is_code=True))

    def _without_own(self, value: str) -> str:
        """A text without what the user's own entries match."""
        if self._own is not None and len(value) < 1000 and self._own.fullmatch(value.lower()):
            return PLACEHOLDER
        for own in self._patterns:
            value = own.sub(_placed, value)
        return value

    def _cleaned(self, value: str, low: str, *, is_code: bool = False) -> str:
        if self._own is None and not (_are_suspect(value.split(_FRAME)) if _FRAME in value else _is_suspect(low)):
            return _USERINFO_CUT.sub(f"//{PLACEHOLDER}", value) if len(value) >= _CUT else value
        value = self._named(value, is_code=is_code)
        if "@" in value:
            value = _USERINFO.sub(_without_user, value)
        if "%" in value:
            value = _ESCAPED.sub(_without_escaped, value)
        if "%40" in value:
            value = _USERINFO_ENCODED.sub(rf"\1{PLACEHOLDER}%40", value)
        if len(value) >= _CUT:
            value = _USERINFO_CUT.sub(f"//{PLACEHOLDER}", value)
        if "earer" in low:
            value = _BEARER.sub(_without_bearer, value)
        if "asic" in low:
            value = _BASIC.sub(_without_basic, value)
        if "eyJ" in value:
            value = _JWT.sub(PLACEHOLDER, value)
        if _KEY_BEGIN in low:
            value = _without_keys(value)
        return value

    def _named(self, value: str, *, is_code: bool) -> str:
        """A text without the values that stand behind secrets' names; in a traceback, the lines of code are known."""
        if not is_code and _FRAME not in value:
            return self._line(value, is_code=False)
        lines = value.split("\n")
        before = ""
        for index, line in enumerate(lines):
            of_code = is_code or (before.startswith(_FRAME) and line.startswith("    "))
            lines[index] = self._line(line, is_code=of_code)
            before = line
        return "\n".join(lines)

    def _line(self, text: str, *, is_code: bool) -> str:
        low = _lower(text)
        match = self._site.search(low)
        if match is None:
            return text
        parts: list[str] = []
        done = 0
        line_end = -1
        while match is not None:
            if line_end < match.end():
                line_end = text.find("\n", match.end())
                line_end = len(text) if line_end < 0 else line_end
            found = _value(text, low, match, line_end, is_code=is_code)
            if found is None:
                match = self._site.search(low, match.end("name"))
                continue
            start, end = found
            parts += (text[done:start], PLACEHOLDER)
            done = end
            match = self._site.search(low, end)
        parts.append(text[done:])
        return "".join(parts)


# Global state: hashes of frames in which nothing was found. The same ones come with each error of a place.
_innocent: set[int] = set()
_MOST_INNOCENT = 2000


def _are_suspect(frames: list[str]) -> bool:
    """The same for frames, and for what follows them in the last place, which is new each time."""
    for frame in frames[:-1]:
        mark = hash(frame)
        if mark not in _innocent:
            if _is_suspect(frame.lower()):
                return True
            if len(_innocent) >= _MOST_INNOCENT:
                _innocent.clear()
            _innocent.add(mark)
    return _is_suspect(frames[-1].lower())


def _is_suspect(low: str) -> bool:
    """Whether a text, in lower case, may hold a secret."""
    return any(sign in low and look.search(low) is not None for sign, look in _LOOKS)


def _value(text: str, low: str, match: re.Match[str], line_end: int, *, is_code: bool) -> tuple[int, int] | None:
    """Where the value begins and ends that stands behind a secret's name; None if it is none."""
    name, sign, start = match["name"], match["sign"], match.end()
    name_at = match.start()
    before = text[max(0, name_at - _BEFORE) : name_at]
    quote = _QUOTE.match(text, start)
    if sign is None and not _is_told(match, before.lower(), is_quoted=quote is not None):
        return None
    if name == "token" and before.lower().endswith("unexpected "):  # a parser's
        return None
    if quote is not None:
        return _quoted(text, quote, line_end)
    if text[start : start + 1] in _CLOSERS:
        return _bracketed(text, start, line_end, name)
    if sign == ":" and name in _NOT_SAID:
        return None
    if sign is not None and (sign[0] == "%" or _IN_QUERY.search(before.lower())):
        content = (_ENCODED if sign[0] == "%" else _PARAMETER).match(text, start, line_end)
        word = _without_end(content)
    elif is_code and _is_expression(text[max(0, name_at - _MOST_OF_LINE) : name_at]):
        return None
    else:
        content = _LIKE_HEADERS.get(name, _WORD).match(text, start, line_end)
        word = _without_end(content)
        if _is_none(word, name, sign, before + text[name_at]):
            return None
    return (start, start + len(word)) if word else None


def _is_told(match: re.Match[str], before: str, *, is_quoted: bool) -> bool:
    """Whether a value stands behind a name without any sign: of a command, of a pair, or `password 'x'`."""
    if _OPTION.search(before) is not None:
        return True
    if match["pair"] is not None:
        return _PAIR.search(before) is not None
    return is_quoted and match["name"].startswith(("pass", "secret"))


def _is_expression(before: str) -> bool:
    """Whether what follows on a line of code is no part of a literal."""
    return before.count('"') % 2 == before.count("'") % 2 == 0


def _without_end(content: re.Match[str] | None) -> str:
    """A value without what ends the sentence, or whatever it stands in."""
    return "" if content is None else content[0].rstrip(")]}>.,;:\\")


def _is_none(word: str, name: str, sign: str | None, before: str) -> bool:
    """Whether what stands behind a secret's name is none: prose, a type, a number of them, a place for one."""
    if word.lower() in _PROSE or word == PLACEHOLDER or _is_template(word):
        return True
    if name in ("token", "pass") and _COUNT.fullmatch(word):
        return True
    if name == "pwd" and word.startswith("/"):  # where a shell is
        return True
    if name == "auth" and not (len(word) >= 8 and any(map(str.isdigit, word))):  # how, and not by what
        return True
    # `app.errors.WeakPassword: choose another`
    return sign == ":" and before[-1:].isupper() and _CLASS.search(before[:-1]) is not None


def _is_template(content: str) -> bool:
    return len(content) < 100 and _TEMPLATE.fullmatch(content) is not None


def _quoted(text: str, quote: re.Match[str], line_end: int) -> tuple[int, int] | None:
    """The inside of a literal; without an end it goes to the end of its line."""
    closing = quote[1] + quote[2]
    start = at = quote.end()
    while True:
        end = text.find(closing, at, line_end)
        if end < 0:
            end = line_end
            break
        first = end
        while first > start and text[first - 1] == "\\":
            first -= 1
        if (end - first) % 2 == 0:
            break
        at = end + 1
    content = text[start:end]
    return None if _says_nothing(content) else (start, end)


def _says_nothing(content: str) -> bool:
    """Whether a literal is empty, a place for a value, or a sentence about it, as forms have them."""
    if not content or content == PLACEHOLDER or _is_template(content):
        return True
    words = content.split(None, 2) if len(content) < 500 else ()
    return len(words) == 3 and words[0].lower() in _PROSE and content.endswith((".", "!"))


def _bracketed(text: str, start: int, line_end: int, name: str) -> tuple[int, int] | None:
    """The inside of brackets: a list of values, a user and a password, or cookies."""
    bracket = text[start]
    if bracket == "{" and name not in ("cookie", "cookies", "authorization", "auth"):
        return None  # what is secret in there has its own name
    limit = min(line_end, start + 4000)
    end = text.find(_CLOSERS[bracket], start, limit)
    content = text[start + 1 : limit if end < 0 else end]
    first = _QUOTE.match(content.lstrip())
    if first is None:
        return None  # an expression
    literal = content.lstrip()[first.end() :]
    closing = literal.find(first[2])
    if _says_nothing(literal[: len(literal) if closing < 0 else closing]):
        return None
    return start + 1, start + 1 + len(content)


def _without_user(match: re.Match[str]) -> str:
    user = match[1] or match[2]
    return f"//{PLACEHOLDER}:{PLACEHOLDER}@" if ":" in user else f"//{PLACEHOLDER}@"


def _without_escaped(match: re.Match[str]) -> str:
    is_secret = _SECRET_PARAMETER.search(unquote_plus(match[1]).lower().rstrip("]")) is not None
    return f"{match[1]}={PLACEHOLDER}" if is_secret else match[0]


def _without_bearer(match: re.Match[str]) -> str:
    token = match[2].rstrip(")]}.:\\")
    if not token or token.partition("=")[0].lower() in _OF_BEARER or _is_template(token):
        return match[0]
    return f"{match[1]}{PLACEHOLDER}{match[2][len(token) :]}"


def _without_basic(match: re.Match[str]) -> str:
    """Only what is a user and a password: `Basic training` is none."""
    encoded = match[2].rstrip("=").replace("-", "+").replace("_", "/")
    try:
        plain = a2b_base64(encoded + "=" * (-len(encoded) % 4))
    except (Base64Error, ValueError):
        return match[0]
    return f"{match[1]}{PLACEHOLDER}" if b":" in plain else match[0]


def _without_keys(value: str) -> str:
    """A text without the private keys in it."""
    low = _lower(value)
    parts: list[str] = []
    done = 0
    while (at := low.find(_KEY_BEGIN, done)) >= 0:
        start = at + len(_KEY_BEGIN)
        end = low.find(_KEY_END, start)
        parts += (value[done:start], PLACEHOLDER)
        done = len(value) if end < 0 else end
        if end >= 0:
            # The closing line names it as well.
            closing = low.find(_KEY_BEGIN, end)
            following = end + 40
            if 0 <= closing < following:
                parts.append(value[end : closing + len(_KEY_BEGIN)])
                done = closing + len(_KEY_BEGIN)
    parts.append(value[done:])
    return "".join(parts)


def _finds(own: re.Pattern[str], key: str) -> bool:
    found = own.search(key)
    return found is not None and bool(found[0])


def _placed(match: re.Match[str]) -> str:
    return PLACEHOLDER if match[0] else ""
