"""Score: how much of a text is signs that speech has no ordinary place for."""

from collections.abc import Sequence

import polars as pl

# All but letters and their accents, digits, space and the marks that ordinary sentences hold.
SYMBOL = r"""[^\p{L}\p{M}\p{N}\s.,;:?!'"’‘“”()\-–—…%$€£&/]"""


def symbol_shares(texts: Sequence[str]) -> list[float]:
    """Share of each text's characters, 0 to 1, that are symbols; 0 for an empty text.

    Kept by a threshold of 0.1, the default:

    >>> symbol_shares(["What's 15% of $80 (or so)?", "Is C++ older than C#, or A&M than AC/DC*?"])
    [0.0, 0.0975609756097561]

    Rejected by it:

    >>> [share > 0.1 for share in symbol_shares(["~~~ *** hi *** ~~~", "a[i]={x|y}; b[j]={z}"])]
    [True, True]
    """
    columns = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
    counted = pl.col("text").str.count_matches(SYMBOL) / pl.col("text").str.len_chars()
    return columns.select(share=pl.when(pl.col("text") == "").then(0.0).otherwise(counted))["share"].to_list()
