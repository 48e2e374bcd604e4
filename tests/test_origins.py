"""To whom the ids go."""

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from highlight_autoinstrument.origins import TracingOrigins

EVERYTHING_INTERNAL = [
    *("localhost", "LOCALHOST", "localhost.", "app.localhost", "127.0.0.1", "127.9.9.9", "127.0.0.1."),
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
    *("::1", "[::1]", "[0:0:0:0:0:0:0:1]", "fd00::1", "[fe80::1]", "fe80::1%eth0", "[fe80::1%25eth0]", "::"),
    *("::ffff:10.0.0.1", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]"),
    *("billing", "billing-v2", "my_service", "xn--bcher-kva", "BILLING."),
    *("billing.internal", "a.b.internal.", "printer.local", "billing.default.svc", "billing.default.svc.cluster.local"),
]
NOTHING_INTERNAL = [
    *("example.com", "internal.example.com", "localhost.example.com", "xlocal.com", "a.xlocal", "a.notinternal"),
    *("8.8.8.8", "172.15.255.255", "172.32.0.1", "192.169.0.1", "11.0.0.1", "100.64.0.1", "1.1.1.1."),
    *("2001:db8::1", "[2606:4700::1111]", "::ffff:8.8.8.8", "[::ffff:808:808]", "fec0::1"),
    # other spellings of 8.8.8.8, and of a dot
    *("134744072", "0x8080808", "010.010.010.010", "8.2056", "evil\u2488com", "evil\u3002com", "evil\uff0elocal"),
    *(
        "billing.internal@evil.com",
        "evil.com#.internal",
        "evil.com/.internal",
        "evil.com\\.internal",
        "evil.com?.local",
    ),
    *("", ".", "..", "a..internal", ".internal", "a b", "a\0", "a\n.local", "[::1", "::1]", "[]", "[billing]", "1:2:3"),
    *("x" * 254, "%2e", "*.internal"),
]


@pytest.mark.parametrize("host", EVERYTHING_INTERNAL)
def test_internal_hosts(host):
    origins = TracingOrigins.parse("internal")

    assert origins.allows("http", host, None)
    assert origins.reason("http", host, 80).endswith("is internal")


@pytest.mark.parametrize("host", NOTHING_INTERNAL)
def test_hosts_that_are_not_internal(host):
    assert not TracingOrigins.parse("internal").allows("http", host, None)


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "expected"),
    [
        ("*", "https", "anything.example", None, True),
        ("*", "https", "not a host\0", None, True),
        (" * ", "https", "example.com", None, True),
        ("example.com, *", "https", "other.com", None, True),
        ("", "https", "localhost", None, False),
        (" , ,", "https", "localhost", None, False),
        # a host, on any port
        ("api.example.com", "https", "api.example.com", None, True),
        ("api.example.com", "http", "api.example.com", 8080, True),
        ("api.example.com", "https", "API.Example.COM.", 443, True),
        ("API.Example.com.", "https", "api.example.com", 443, True),
        ("api.example.com", "https", "example.com", None, False),
        ("api.example.com", "https", "x.api.example.com", None, False),
        ("api.example.com", "https", "api.example.com.evil.com", None, False),
        ("api.example.com", "https", "evil-api.example.com", None, False),
        ("xn--bcher-kva.example", "https", "XN--bcher-kva.example", None, True),
        ("bücher.example", "https", "BÜCHER.example", None, True),
        ("bücher.example", "https", "xn--bcher-kva.example", None, False),
        # a port
        ("api.example.com:8443", "https", "api.example.com", 8443, True),
        ("api.example.com:8443", "https", "api.example.com", None, False),
        ("api.example.com:443", "https", "api.example.com", None, True),
        ("api.example.com:443", "http", "api.example.com", None, False),
        ("api.example.com:80", "HTTP", "api.example.com", None, True),
        ("api.example.com:443", "weird", "api.example.com", None, False),
        # below a domain, but not the domain itself
        ("*.example.com", "https", "api.example.com", None, True),
        ("*.example.com", "https", "a.b.EXAMPLE.com.", 8080, True),
        ("*.example.com", "https", "example.com", None, False),
        ("*.example.com", "https", "evilexample.com", None, False),
        ("*.example.com", "https", ".example.com", None, False),
        ("*.example.com", "https", "evil.com/.example.com", None, False),
        ("*.example.com, example.com", "https", "example.com", None, True),
        ("*.example.com:8443", "https", "a.example.com", 8443, True),
        ("*.example.com:8443", "https", "a.example.com", None, False),
        # addresses
        ("10.0.0.7", "http", "10.0.0.7", 5000, True),
        ("10.0.0.7", "http", "::ffff:10.0.0.7", 5000, True),
        ("::1", "http", "[::1]", 5000, True),
        ("[::1]", "http", "0:0::1", 5000, True),
        ("[::1]:5000", "http", "::1", 5000, True),
        ("[fe80::1]", "http", "[fe80::1%25eth0]", 5000, True),
        ("[::1]:5000", "http", "::1", 5001, False),
        ("[2001:DB8::1]", "http", "2001:db8:0::1", None, True),
        # regular expressions
        (r"/^https://api\.example\.com:443$/", "https", "API.example.com", None, True),
        (r"/^https://api\.example\.com:443$/", "https", "api.example.com", 8443, False),
        (r"/^https://api\.example\.com:443$/", "http", "api.example.com", None, False),
        (r"/^https:\/\/API/", "https", "api.example.com", None, True),
        (r"/^api/", "https", "api.example.com", None, False),
        (r"/example/", "https", "my.example.org", None, True),
        (r"/^http://\[::1\]:80$/", "http", "::1", None, True),
        (r"/^grpc://billing:443$/", "grpc", "billing", None, True),
        (r"/^weird://billing$/", "weird", "billing", None, True),
        (r"/./", "http", "a b", None, False),
        (r"/:\d{2,3}$/", "http", "a.com", 8080, False),
        (r"/:\d{2,3}$/", "http", "a.com", 808, True),
        (r"/^http://[a,b]{1,2}:80$/ , c.com, /d,\/, e/", "http", "ab", None, True),
        (r"/^http://[a,b]{1,2}:80$/ , c.com, /d,\/, e/", "http", "c.com", None, True),
        (r"/a,b/,/c\\/,d.com", "http", "d.com", None, True),
        # everything together
        ("internal,api.example.com:8443,/shop/,*.corp.example", "http", "billing", 80, True),
        ("internal,api.example.com:8443,/shop/,*.corp.example", "http", "workshop.example", 80, True),
        ("internal,api.example.com:8443,/shop/,*.corp.example", "http", "a.corp.example", 80, True),
        ("internal,api.example.com:8443,/shop/,*.corp.example", "http", "corp.example", 80, False),
        ("INTERNAL", "http", "billing", 80, True),
    ],
)
def test_the_list(text, scheme, host, port, expected):
    origins = TracingOrigins.parse(text)

    assert origins.allows(scheme, host, port) is expected
    assert origins.allows(scheme, host, port) is expected  # as it was remembered


@pytest.mark.parametrize(
    "entry",
    [
        *("https://api.example.com", "api.example.com/v1", "user@host.com", "a b", "a\nb", "a..b"),
        *(
            "api.example.com:0",
            "api.example.com:65536",
            "api.example.com:http",
            "api.example.com:",
            "a.com:\uff180",
            ":80",
        ),
        *("*.", "*x.com", "a.*.com", "*:80", "*.10.0.0.1", "*.[::1]"),
        *("[::1", "[::1]x", "[::1]:", "[]", "1:2:3"),
        *("/(/", "/x/i", "/x", "/", "//", r"/x\/"),
    ],
)
def test_a_bad_entry_is_named_in_one_line(entry):
    with pytest.raises(ValueError, match="is not a") as caught:
        TracingOrigins.parse(f"ok.com, internal, /ok/, {entry}")

    assert str(caught.value).startswith(repr(entry))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port", "reason"),
    [
        ("*", "a.com", None, "every host is allowed (*)"),
        ("", "a.com", None, "the list of tracing origins is empty"),
        ("b.com", "a.com", None, "a.com:443 is not a tracing origin"),
        ("b.com", "::1", 8, "[::1]:8 is not a tracing origin"),
        ("A.com", "a.com.", None, "a.com is listed"),
        ("a.com:443", "a.com", None, "a.com:443 is listed"),
        ("*.com", "a.com", None, "*.com is listed"),
        ("/a/", "a.com", None, "/a/ matches"),
        ("internal", "a\x1b[31m", None, "not a valid host"),
        ("internal", None, None, "not a valid host"),
        ("*", None, None, "every host is allowed (*)"),
    ],
)
def test_the_reason(text, host, port, reason):
    assert TracingOrigins.parse(text).reason("https", host, port) == reason


@given(
    st.one_of(st.text(), st.text(alphabet="[]:.%@/#a1*\0 "), st.none(), st.binary(), st.lists(st.integers())),
    st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers())),
    st.one_of(st.text(), st.none(), st.binary()),
)
@example(host="[", port=None, scheme="http")
@example(host=["a"], port=None, scheme="http")
def test_no_host_raises(host, port, scheme):
    assert TracingOrigins.parse("*").allows(scheme, host, port) is True
    for text in ("", "internal, example.com, *.example.com, [::1]:8, /^never$/"):
        origins = TracingOrigins.parse(text)
        assert origins.allows(scheme, host, port) in (True, False)
        assert origins.reason(scheme, host, port).isprintable()


@given(st.one_of(st.text(), st.text(alphabet="[]:.%@/\\#a1*,( ")))
@example("/[[/")
def test_no_setting_raises_anything_but_value_error(text):
    try:
        TracingOrigins.parse(text).allows("http", "example.com", None)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - a good setting is no failure


def test_what_is_remembered_is_bounded():
    origins = TracingOrigins.parse("*.example.com")

    for n in range(5000):
        assert origins.allows("https", f"{n}.example.com", None)

    assert 0 < len(origins._known) <= 1024


def test_a_list_of_hosts_is_read_without_importing_anything():
    program = (
        "import sys; names = {}; exec(open(sys.argv[1], encoding='utf-8').read(), names); before = set(sys.modules);"
        "names['TracingOrigins'].parse('*, internal, a.com, *.b.com:80'); print(sorted(set(sys.modules) - before));"
        "print(sorted({'re', 'ipaddress'} & set(sys.modules)))"
    )
    path = sys.modules[TracingOrigins.__module__].__file__

    done = subprocess.run([sys.executable, "-S", "-E", "-c", program, path], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["[]", "[]"]
