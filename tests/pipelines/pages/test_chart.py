"""The picture of a partition's batches: short enough to be drawn, and readable in words."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from pipelines.pages.chart import MAX_CHARACTERS, Kind, bars, chart, describe

SECONDS = st.floats(0, 1e5, allow_nan=False)
BATCHES = st.lists(st.tuples(SECONDS, st.integers(1, 4), st.booleans()), min_size=1, max_size=300)


def svg_of(markdown):
    """Return the picture that Markdown draws, parsed."""
    (data,) = re.findall(r"\(data:image/svg\+xml,([^ ()]+)\)$", markdown)
    return ElementTree.fromstring(unquote(data))


@given(BATCHES, st.floats(0.1, 1e4))
def test_any_batches_make_a_picture_that_is_drawn_in_place(batches, target):
    seconds, attempts, failed = zip(*batches, strict=True)
    markdown = chart(bars(seconds, attempts, failed), target)
    assert len(markdown) < MAX_CHARACTERS
    assert float(svg_of(markdown).get("width")) <= 280


def test_batches_are_told_apart_by_more_than_their_colour():
    drawn = bars([1, 1, 9, 1], [1, 2, 1, 3], [False, False, False, True])
    kinds = [Kind.FINE, Kind.RETRIED, Kind.STRAGGLER, Kind.FAILED]
    assert [bar.kind for bar in drawn] == kinds
    paths = [path.attrib for path in svg_of(chart(drawn, 120.0)) if path.tag.endswith("path")]
    assert len({(path["d"], path.get("stroke-dasharray")) for path in paths}) == len(kinds)


def test_the_picture_says_in_words_what_it_shows():
    drawn = bars([1, 1, 9, 1], [1, 2, 1, 3], [False, False, False, True])
    assert describe(drawn, 120.0) == (
        "4 batches of 1 s to 9 s, target 120 s; 1 failed (cross); 1 far slower than most "
        "(triangle); 1 tried again (stripes)"
    )


def test_a_target_that_is_far_above_is_named_and_no_line():
    near, far = (chart(bars([1.0], [1], [False]), target) for target in (2.0, 120.0))
    assert len(svg_of(near).findall("{*}path")) == len(svg_of(far).findall("{*}path")) + 1
