"""Every rule shows two kept and two rejected texts, as examples that are run (tests/test_doctests.py)."""

import doctest

import pytest

from filters.speakable import RULES


@pytest.mark.parametrize("kind", RULES)
def test_every_rule_shows_two_kept_and_two_rejected(kind: str) -> None:
    examples = doctest.DocTestFinder().find(RULES[kind])[0].examples
    rejected = [example for example in examples if example.want]
    assert len(rejected) >= 2
    assert len(examples) - len(rejected) >= 2
