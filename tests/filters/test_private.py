"""Private data: found in the shapes people write it in, and nothing that only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.private import find_private, private_data


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to anna.b+news@example.co.uk about the rent.", "email"),
        ("Call me on (212) 555-0187 after six.", "phone"),
        ("My number is +44 7700 900123.", "phone"),
        ("Is 4111 1111 1111 1111 a valid card?", "card"),
        ("Charge 5555-5555-5555-4444 today.", "card"),
        ("Why can't I ping 192.0.2.17?", "ip"),
        ("Is 2001:db8::ff00:42:8329 an address?", "ip"),
    ],
)
def test_private_data_is_found_and_not_repeated(text: str, kind: str) -> None:
    assert find_private(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "What happened between 1914 and 1918, and on 11/11/1918?",
        "Is 4111 1111 1111 1112 a prime number?",  # fails the Luhn check
        "What changed in version 1.2.3.4 of the driver?",
        "Is 1,234,567.89 more than 1.5 million?",
        "The ISBN is 978-3-16-148410-0. Who published it?",
        "When should I call 911?",
        "What is 555-123?",
        "Is 999.999.999.999 a number?",
        "Meet me @ noon.",
    ],
)
def test_what_only_looks_like_it_is_kept(text: str) -> None:
    assert find_private(text) is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(alphabet="0123456789 +-().:@abcfx/v\ud800é", max_size=40), max_size=5))
def test_a_column_gets_the_verdicts_of_its_texts(texts: list[str]) -> None:
    assert private_data(texts) == [find_private(text) for text in texts]
