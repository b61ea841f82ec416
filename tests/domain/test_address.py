"""Which addresses are public, and which URLs a caller may name."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain.address import (
    AllowedHosts,
    Target,
    UrlRefused,
    callback_target,
    check_callback_url,
    check_image_url,
    image_target,
    refusal,
)

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "203.0.112.255",
    "223.255.255.255",
    "168.63.129.15",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2400:3200::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "3ffe:ffff::1",
]

REFUSED = [
    ("0.0.0.0", "the unspecified address"),
    ("0.1.2.3", "an address of this network"),
    ("10.0.0.0", "a private address"),
    ("10.255.255.255", "a private address"),
    ("100.64.0.0", "a shared (CGNAT) address"),
    ("100.127.255.255", "a shared (CGNAT) address"),
    ("100.100.100.200", "a cloud metadata address"),
    ("127.0.0.0", "a loopback address"),
    ("127.0.0.1", "a loopback address"),
    ("127.255.255.255", "a loopback address"),
    ("168.63.129.16", "a cloud metadata address"),
    ("169.254.0.0", "a link-local address"),
    ("169.254.169.254", "a cloud metadata address"),
    ("169.254.255.255", "a link-local address"),
    ("172.16.0.0", "a private address"),
    ("172.31.255.255", "a private address"),
    ("192.0.0.8", "an address for protocol assignments"),
    ("192.0.0.192", "a cloud metadata address"),
    ("192.0.2.255", "a documentation address"),
    ("192.31.196.1", "an AS112 address"),
    ("192.52.193.1", "an AMT address"),
    ("192.88.99.1", "a 6to4 relay address"),
    ("192.168.0.0", "a private address"),
    ("192.168.255.255", "a private address"),
    ("192.175.48.1", "an AS112 address"),
    ("198.18.0.0", "a benchmarking address"),
    ("198.19.255.255", "a benchmarking address"),
    ("198.51.100.7", "a documentation address"),
    ("203.0.113.7", "a documentation address"),
    ("224.0.0.1", "a multicast address"),
    ("239.255.255.255", "a multicast address"),
    ("240.0.0.1", "a reserved address"),
    ("255.255.255.254", "a reserved address"),
    ("255.255.255.255", "the broadcast address"),
    ("::", "the unspecified address"),
    ("::1", "a loopback address"),
    ("::2", "an address of this network inside an IPv4-compatible address"),
    ("::127.0.0.1", "a loopback address inside an IPv4-compatible address"),
    ("::8.8.8.8", "an IPv4-compatible address"),
    ("::ffff:127.0.0.1", "a loopback address inside an IPv4-mapped address"),
    ("::ffff:7f00:1", "a loopback address inside an IPv4-mapped address"),
    ("::ffff:169.254.169.254", "a cloud metadata address inside an IPv4-mapped address"),
    ("::ffff:8.8.8.8", "an IPv4-mapped address"),
    ("::ffff:0:127.0.0.1", "a loopback address inside an IPv4-translated address"),
    ("64:ff9b::127.0.0.1", "a loopback address inside a NAT64 address"),
    ("64:ff9b::10.1.2.3", "a private address inside a NAT64 address"),
    ("64:ff9b::8.8.8.8", "a NAT64 address"),
    ("64:ff9b:1::127.0.0.1", "a loopback address inside a local NAT64 address"),
    ("64:ff9b:1:ffff::8.8.8.8", "a local NAT64 address"),
    ("100::1", "a discard-only address"),
    ("100:0:0:1::1", "a dummy address"),
    ("2001:0:4136:e378:8000:63bf:80ff:fffe", "a loopback address inside a Teredo address"),
    ("2001:0:4136:e378:8000:63bf:f7f7:f7f7", "a Teredo address"),
    ("2001:2::1", "a benchmarking address"),
    ("2001:3::1", "an AMT address"),
    ("2001:4:112::1", "an AS112 address"),
    ("2001:10::1", "an ORCHID address"),
    ("2001:20::1", "an ORCHID address"),
    ("2001:30::1", "a drone identifier"),
    ("2001:1::1", "an address for protocol assignments"),
    ("2001:db8::1", "a documentation address"),
    ("2002:7f00:1::", "a loopback address inside a 6to4 address"),
    ("2002:a9fe:a9fe::1", "a cloud metadata address inside a 6to4 address"),
    ("2002:808:808::1", "a 6to4 address"),
    ("2620:4f:8000::1", "an AS112 address"),
    ("2a00:1450::5efe:127.0.0.1", "a loopback address inside an ISATAP address"),
    ("2a00:1450::200:5efe:192.168.1.1", "a private address inside an ISATAP address"),
    ("3fff::1", "a documentation address"),
    ("3fff:fff:ffff::1", "a documentation address"),
    ("5f00::1", "a segment routing address"),
    ("fc00::1", "a unique local address"),
    ("fd00:ec2::254", "a unique local address"),
    ("fdff:ffff::1", "a unique local address"),
    ("fe80::1", "a link-local address"),
    ("fe80::1%eth0", "a link-local address"),
    ("febf::1", "a link-local address"),
    ("fec0::1", "a site-local address"),
    ("feff::1", "a site-local address"),
    ("ff02::1", "a multicast address"),
    ("200::1", "not a global unicast address"),
    ("1000::1", "not a global unicast address"),
    ("4000::1", "not a global unicast address"),
    ("e000::1", "not a global unicast address"),
    ("", "no IP address"),
    ("localhost", "no IP address"),
    ("127.1", "no IP address"),
    ("2130706433", "no IP address"),
    ("0177.0.0.1", "no IP address"),
    ("１２７.0.0.1", "no IP address"),
]


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_not_refused(text: str):
    assert refusal(text) is None


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_any_other_address_is_refused_in_words(text: str, words: str):
    assert refusal(text) == words


@given(st.ip_addresses(v=4))
@example(IPv4Address("127.0.0.1"))
def test_no_ipv4_address_becomes_public_by_being_written_inside_ipv6(inner: IPv4Address):
    number = int(inner)
    forms = [
        IPv6Address(number),
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x64_FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x2001_0000 << 96 | number ^ 0xFFFF_FFFF),
    ]

    assert [str(form) for form in forms if refusal(str(form)) is None] == []


@given(st.ip_addresses(v=4))
def test_what_python_calls_private_is_refused_here_too(address: IPv4Address):
    if not address.is_global:
        assert refusal(str(address))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://hooks.acme.com", Target("https", "hooks.acme.com", 443)),
        ("https://hooks.acme.com/done?id=1&x=%2F#part", Target("https", "hooks.acme.com", 443)),
        ("HTTPS://Hooks.ACME.com:8443/", Target("https", "hooks.acme.com", 8443)),
        ("https://hooks.acme.com.:9443/", Target("https", "hooks.acme.com.", 9443)),
        ("https://hook_1.acme-2.com/中文", Target("https", "hook_1.acme-2.com", 443)),
        ("https://8.8.8.8/", Target("https", "8.8.8.8", 443)),
        ("https://[2606:4700:4700::1111]:8443/", Target("https", "2606:4700:4700::1111", 8443)),
        ("https://bücher.example/", Target("https", "bücher.example", 443)),
        ("https://图片.中国/", Target("https", "图片.中国", 443)),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443)),
        ("https://1.2.3.4.example.com/", Target("https", "1.2.3.4.example.com", 443)),
    ],
)
def test_a_plain_https_url_leads_to_its_host(url: str, target: Target):
    assert callback_target(url) == image_target(url) == target


def test_a_picture_may_be_named_by_http_and_a_callback_may_not():
    url = "http://cdn.acme.com/a.png"

    assert image_target(url) == Target("http", "cdn.acme.com", 80)
    assert check_callback_url(url) == "The callback URL must start with https://."


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.acme.com",
        "//hooks.acme.com",
        "https:hooks.acme.com",
        "https:/hooks.acme.com",
        "https:///hooks.acme.com",
        "https://",
        "https://:443/",
        "https://?x",
        "https://#x",
        "ftp://hooks.acme.com",
        "file:///etc/passwd",
        "gopher://hooks.acme.com",
        "javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "blob:https://hooks.acme.com",
        " https://hooks.acme.com",
        "https://hooks.acme.com ",
        "https://hooks.acme.com/a b",
        "https://hooks.acme.com/\r\nx: y",
        "https://hooks.acme.com/\t",
        "https://hooks.acme.com/\x00",
        "https://hooks.acme.com/\x7f",
        "https://hooks.acme.com/\u2028",
        "https://hooks.acme.com/\u200b",
        "https://hooks.acme.com/\ud800",
        "https:\\\\hooks.acme.com",
        "https://hooks.acme.com\\@127.0.0.1/",
        "https://user@hooks.acme.com/",
        "https://user:word@hooks.acme.com/",
        "https://@hooks.acme.com/",
        "https://hooks.acme.com:@127.0.0.1/",
        "https://hooks.acme.com:/",
        "https://hooks.acme.com:0/",
        "https://hooks.acme.com:00443/",
        "https://hooks.acme.com:65536/",
        "https://hooks.acme.com:-1/",
        "https://hooks.acme.com:+443/",
        "https://hooks.acme.com:44３/",
        "https://hooks.acme.com:443:443/",
        "https://hooks.acme.com:22/",
        "https://hooks.acme.com:25/",
        "https://hooks.acme.com:80/",
        "https://hooks.acme.com:6379/",
        "https://hooks.acme.com:5432/",
        "https://hooks..acme.com/",
        "https://.acme.com/",
        "https://acme.com../",
        "https://-acme.com/",
        "https://acme-.com/",
        "https://ac me.com/",
        "https://ac%6de.com/",
        "https://%31%32%37.0.0.1/",
        "https://acme,com/",
        "https://acme.com;evil/",
        "https://$acme.com/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 127 + "com/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://any.localhost/",
        "https://db/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://host.docker.internal/",
        "https://localhost.localdomain/",
        "https://nas.home.arpa/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://127.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0X7F.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.01/",
        "https://00000127.0.0.1/",
        "https://127.0.0.1./",
        "https://8.8.8.8./",
        "https://256.1.1.1/",
        "https://1.1.1.1.1/",
        "https://8.8.8/",
        "https://acme.0x/",
        "https://acme.123/",
        "https://0/",
        "https://１２７.０.０.１/",
        "https://127。0。0。1/",
        "https://127．0．0．1/",
        "https://127｡0｡0｡1/",
        "https://①②⑦.0.0.1/",
        "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "https://ｌｏｃａｌｈｏｓｔ.com/",
        "https://١٢٧.٠.٠.١/",
        "https://acme\u00ad.com/",
        "https://[::1]/",
        "https://[::1]:443/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[2606:4700:4700::1111%eth0]/",
        "https://[127.0.0.1]/",
        "https://[8.8.8.8]/",
        "https://[]/",
        "https://[::1/",
        "https://::1/",
        "https://::1]/",
        "https://[::1]evil.com/",
        "https://[v1.fe80::a]/",
        "https://[2606:4700:4700::1111]]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://192.168.1.1:8443/",
        "https://hooks.acme.com/" + "a" * 2048,
    ],
)
def test_an_odd_or_private_callback_url_is_refused(url: str):
    reason = check_callback_url(url)

    assert reason
    assert reason.startswith("The callback URL must ")


def test_a_url_may_be_as_long_as_the_rule_says_and_no_longer():
    longest = "https://hooks.acme.com/".ljust(2048, "a")

    assert check_callback_url(longest) is None
    assert "2048" in str(check_callback_url(longest + "a"))
    assert check_image_url(longest + "a") is None
    assert "8192" in str(check_image_url(longest.ljust(8193, "a")))


@given(st.text(max_size=60))
def test_any_text_is_either_read_or_refused(text: str):
    for url in (text, f"https://{text}", f"https://{text}/x", f"https://[{text}]:443"):
        try:
            target = callback_target(url)
        except UrlRefused as refused:
            assert str(refused).startswith("must ")  # noqa: PT017 - both ends are checked
        else:
            assert target.scheme == "https"
            assert 0 < target.port < 65536


ALLOWED = AllowedHosts.of(["Hooks.internal:8443", "127.0.0.1:9000", "[::0001]:9001", "db:5432"])


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.internal:8443/x",
        "https://HOOKS.internal.:8443/x",
        "https://127.0.0.1:9000/",
        "https://[::1]:9001/",
        "https://[0:0::1]:9001/",
        "https://db:5432/",
    ],
)
def test_a_listed_host_and_port_is_exempt(url: str):
    assert check_callback_url(url, ALLOWED) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.internal:8443/x",
        "https://user@hooks.internal:8443/x",
        "https://hooks.internal/x",
        "https://hooks.internal:8444/x",
        "https://a.hooks.internal:8443/x",
        "https://hooks.internal.evil.local:8443/x",
        "https://127.0.0.1:9001/",
        "https://127.0.0.2:9000/",
        "https://127.1:9000/",
        "https://[::1]:9000/",
        "https://[::ffff:127.0.0.1]:9000/",
        "https://localhost:9000/",
        "https://db:5433/",
    ],
)
def test_nothing_but_that_host_and_port_is_exempt_and_https_stays_the_rule(url: str):
    assert check_callback_url(url, ALLOWED)


@pytest.mark.parametrize("text", ["host", "host:", ":443", "host:https", "[::zz]:443"])
def test_an_entry_that_is_no_host_and_port_is_an_error(text: str):
    with pytest.raises(ValueError, match=r".+"):
        AllowedHosts.of([text])
