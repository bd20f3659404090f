"""Verdicts on written prompts: pure functions of plain values, one kind of evidence a file.

What is in the room:

- `markers`          removes chat-template markers from a prompt.
- `length`           counts BPE tokens; GPT-2's vocabulary is bundled here.
- `seconds`          foretells how long a prompt takes to say.
- `language`         the best language and the probability that a prompt is English
  (`langid_columns`: py3langid on a whole column; `function_words`).
- `private`          e-mail addresses, telephone and card numbers, IP addresses.
- `speakable`        one verdict: None, or the reason why a prompt cannot be said aloud. Its evidence:
  `links` (url), `layout` (markup, table, options, list), `code`, `formulas` (latex), `scaffold`,
  `signs` (symbols, digits, caps) and `context` (dangling, missing_context). `screen` finds the few
  texts of a column that a rule must look at.
- `symbol_share`     how much of a prompt is signs.
- `answers`          boilerplate, answers that repeat the prompt.
- `duplicates`       normalised text, and a key that is equal for prompts that differ in case, space and punctuation.
- `near_duplicates`  MinHash, buckets, families, and who resembles a kept row.
- `decontamination`  which benchmark prompt a prompt is.

Nothing here imports another folder of the project, reads the network (but `length`, for o200k_base) or keeps state
between rows.
"""
