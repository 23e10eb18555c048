"""Counts in sentences agree with their nouns."""

import pytest

from sam_hub.ops.wording import counted


@pytest.mark.parametrize(
    ("count", "noun", "words"),
    [(0, ("mask",), "0 masks"), (1, ("mask",), "1 mask"), (1234, ("mask",), "1,234 masks"), (2, ("a", "b"), "2 b")],
)
def test_a_count_and_its_noun(count, noun, words):
    assert counted(count, *noun) == words
