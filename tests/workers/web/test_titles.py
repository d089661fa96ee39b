import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.web.titles import title_of


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title>A page</title>", "A page"),
        ("<TITLE lang='en'>\n A &amp; B\n C&#33; </TITLE >", "A & B C!"),
        ("<title>1 < 2</title>", "1 < 2"),
        ("<title>not closed", "not closed"),
        ("<title></title><title>second</title>", ""),
        ("<p>no title</p>", ""),
        ("", ""),
        ("<!-- <title>comment</title> --><title>page</title>", "page"),
        ("<script>'<title>code</title>'</script><title>page</title>", "page"),
        ("<svg><title>icon</title></svg><title>page</title>", "page"),
        ("<script src='a.js'/><title>page</title>", "page"),
        ("<!-- never closed <title>page</title>", ""),
        ("<titles>no</titles>", ""),
        ("<title>" + "x" * 1000 + "</title>", "x" * 300),
        ("<title>&#xD800;&#0;</title>", "\ufffd\ufffd"),
    ],
)
def test_the_title_of_a_page_is_the_first_that_is_its_own(page, title):
    assert title_of(page.encode(), None) == title


@pytest.mark.parametrize(
    ("head", "charset"),
    [
        ("<title>мир</title>".encode(), None),
        ("<title>мир</title>".encode(), "UTF-8"),
        ("<title>мир</title>".encode("koi8-r"), "koi8-r"),
        ("<meta charset=koi8-r><title>мир</title>".encode("koi8-r"), None),
        (
            b"<meta http-equiv=Content-Type content='text/html; charset=windows-1251'>"
            + "<title>мир</title>".encode("cp1251"),
            None,
        ),
        ("<title>мир</title>".encode("utf-8-sig"), "koi8-r"),
        ("<title>мир</title>".encode("utf-16"), None),
        ("<title>мир</title>".encode(), "no-such-charset"),
        ("<title>мир</title>".encode(), "punycode"),
        ("<title>мир</title>".encode(), "hex"),
    ],
)
def test_a_title_is_read_in_the_charset_of_its_page(head, charset):
    assert title_of(head, charset) == "мир"


def test_latin_1_means_what_windows_means():
    assert title_of(b"<title>\x93quoted\x94</title>", "ISO-8859-1") == "“quoted”"


@given(st.binary(max_size=200), st.sampled_from([None, "utf-8", "utf-16", "utf-7", "gbk", "idna"]))
def test_any_bytes_have_a_title_that_can_be_written(head, charset):
    title_of(b"<title>" + head, charset).encode()


@pytest.mark.parametrize("part", ["<a ", "<title", "<!--", "<script", "<svg></title>", "<![", "&#"])
def test_no_page_takes_long(part):
    started = time.process_time()
    title_of((part * 262_144)[:262_144].encode(), None)
    assert (
        time.process_time() - started < 10
    )  # of some milliseconds; a quadratic rule takes minutes
