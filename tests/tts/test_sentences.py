"""Sentences against hand-made splits, and the round trip on any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.sentences import split_sentences

SPLITS = [
    [],
    ["One sentence only"],
    ["First one.", "Second one!", "Third one?", "Fourth."],
    ["Dr. Smith met Mrs. Jones on Main St. yesterday.", "They spoke."],
    ["It costs 3.5 dollars.", "That is a lot."],
    ["J. R. R. Tolkien wrote it.", "He lived in Oxford."],
    ["The U.S. Senate met.", "Nothing happened."],
    ["Bring apples, pears, etc. to the party.", "Do not be late."],
    ["We met at 10 a.m. on Monday.", "It rained at 3 p.m.", "We left."],
    ['"Stop!"', "She ran.", "(He did not.)", "It was over."],
    ["Wait... what is it?", "Nothing."],
    ["See No. 5 and fig. 3 for details.", "I said no.", "She agreed."],
    ["1. Open the door.", "2. Go in."],
    ["Use e.g. Python or i.e. that.", "Install numpy 2.1.0 first."],
    ["Open example.com and read it.", "Then answer."],
    ["Was it I.", "No."],
    ["I saw it in the 70's.", "It wasn't.", "That shop is Rona's.", "We left."],
    ["Take x and y.", "Add them."],
    ["They argued Brown v. Board of Education.", "They won."],
    ["She said 'J. Smith'.", "He wrote (with Dr. Lee).", "Fine."],
]


@pytest.mark.parametrize("sentences", SPLITS)
def test_splits_where_a_reader_would(sentences):
    assert split_sentences("  \n".join(sentences)) == sentences


@given(st.one_of(st.text(), st.text(alphabet="aB. ?!\n1\"'()")))
def test_joins_back_to_the_collapsed_text(text):
    sentences = split_sentences(text)
    assert " ".join(sentences) == " ".join(text.split())
    assert all(sentences)
