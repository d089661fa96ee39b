import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.web.addresses import is_refused, networks, normalised


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("  http://example.org \n", "http://example.org/"),
        ("HTTP://Example.ORG:80/A?B=C#part", "http://example.org/A?B=C"),
        ("https://example.org:443", "https://example.org/"),
        ("https://example.org:80?x=1", "https://example.org:80/?x=1"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
        ("http://\uff25xample.org/", "http://example.org/"),
        ("http://h/a/../b/./c", "http://h/b/c"),
        ("http://h/%7euser", "http://h/~user"),
        ("http://h/a b", "http://h/a%20b"),
        ("http://192.0.2.1:8080/", "http://192.0.2.1:8080/"),
        ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]/"),
        ("http://a_b.example.org./", "http://a_b.example.org./"),
    ],
)
def test_a_url_is_written_in_one_way(text, url):
    assert normalised(text) == url
    assert normalised(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "//example.org/",
        "ftp://example.org/",
        "javascript:alert(1)",
        "http:",
        "http://",
        "http:///path",
        "http:path",
        "http://a b/",
        "http://a..b/",
        "http://" + "a" * 64 + ".org/",
        "http://" + "a." * 127 + "org/",
        "http://h:99999/",
        "http://h:x/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://user:secret@h/",
        "http://user@h/",
        "http://h\\x/",
        "http://h%41/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://1.2.3.4.5/",
        "http://1.2.3.04/",
    ],
)
def test_a_text_that_is_no_url_of_a_page_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  of several kinds, by who noticed
        normalised(text)


@given(
    st.text(max_size=50), st.sampled_from(["", "http://", "https://h/", "http://h?", "http://h:"])
)
def test_any_text_has_one_way_to_write_it_or_none(text, before):
    try:
        url = normalised(before + text)
    except ValueError:
        return
    assert normalised(url) == url
    assert url.isascii()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "2001::1",
        "100::1",
        "4000::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1.1.1.1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
    ],
)
def test_an_address_that_is_not_public_is_refused(address):
    assert is_refused(address, ())


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"],
)
def test_a_public_address_is_not_refused(address):
    assert not is_refused(address, ())


def test_a_setting_allows_the_networks_that_it_names_and_no_more():
    allowed = networks("127.0.0.1/32, fd00::/8,10.0.0.0/8,")
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "fd12::1", "10.9.9.9"):
        assert not is_refused(address, allowed)
    for address in ("127.0.0.2", "::1", "fc00::1", "64:ff9b::10.0.0.1", "2002:a00:1::"):
        assert is_refused(address, allowed)
    assert networks("") == ()
