"""Every docstring example of `filters` holds, and every rule shows two kept and two rejected."""

import doctest
import importlib
import pkgutil

import pytest

import filters
from filters.speakable import RULES

MODULES = sorted(module.name for module in pkgutil.iter_modules(filters.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    module = importlib.import_module(f"filters.{name}")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("kind", RULES)
def test_every_rule_shows_two_kept_and_two_rejected(kind: str) -> None:
    examples = doctest.DocTestFinder().find(RULES[kind])[0].examples
    rejected = [example for example in examples if example.want]
    assert len(rejected) >= 2
    assert len(examples) - len(rejected) >= 2
