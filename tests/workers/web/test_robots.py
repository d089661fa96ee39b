import tracemalloc

import pytest

from workers.web.robots import Robots, robot_of


def robots(text, status=200):
    return Robots.of_answer("Fanfold", status, text.encode())


def test_the_group_that_names_us_rules_and_the_one_for_all_otherwise():
    text = "User-agent: *\nDisallow: /\n\nUser-agent: other\nUser-Agent: FANFOLD/2\nDisallow: /x*y$"
    assert robots(text).allows("http://h/a")
    assert not robots(text).allows("http://h/x-y")
    assert not robots(text.replace("FANFOLD", "Foo")).allows("http://h/a")


def test_the_longest_rule_wins():
    assert robots("User-agent: *\nDisallow: /\nAllow: /a").allows("http://h/a/b")


def test_a_file_that_is_empty_or_makes_no_sense_forbids_nothing():
    for text in (
        "",
        "\ufeff",
        "<html>404</html>",
        "Disallow: /",
        "\0\0",
        "User-agent: fan\nDisallow: /",
    ):
        assert robots(text).allows("http://h/a")


def test_a_byte_order_mark_hides_no_rule():
    assert not robots("\ufeffUser-agent: *\nDisallow: /").allows("http://h/a")


@pytest.mark.parametrize(
    ("status", "allowed"), [(301, True), (404, True), (429, True), (503, False)]
)
def test_without_a_file_the_status_decides(status, allowed):
    assert robots("User-agent: *\nDisallow: /", status).allows("http://h/") is allowed


@pytest.mark.parametrize(
    ("text", "delay"), [("2", 2), ("0.5", 0.5), ("-1", 0), ("x", 0), ("nan", 0)]
)
def test_a_delay_is_what_the_file_asks_for(text, delay):
    assert robots(f"User-agent: fanfold\nCrawl-delay: {text}").delay_seconds == delay


def test_our_name_is_the_product_of_the_user_agent():
    assert robot_of("Fanfold/0.1 (+https://example.org)") == "Fanfold"
    assert robot_of("Mozilla/5.0 (compatible; Our-Bot/1.0; +https://example.org)") == "Our-Bot"
    assert robot_of("(nobody)") == ""


def test_many_robots_with_many_rules_take_little_memory():
    names = "".join(f"User-agent: a{n}\nuseragent b{n}\n" for n in range(2000))
    rules = "".join(f"Disallow: /{n}\n" for n in range(2000))
    tracemalloc.start()
    try:
        assert robots(names + rules).allows("http://h/1")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000  # it would be 600 MB
    finally:
        tracemalloc.stop()
