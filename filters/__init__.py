"""Verdicts on written prompts: pure functions of plain values, one kind of evidence a file.

What is in the room:

- `markers`     removes chat-template markers from a prompt.
- `length`      counts GPT-2 tokens, with the vocabulary that is bundled here.
- `language`    the best language and the probability that a prompt is English.
- `speakable`   one verdict: None, or the reason why a prompt cannot be said aloud. Its evidence:
  `links` (url), `layout` (markup, table, options, list), `code`, `formulas` (latex), `scaffold`,
  `signs` (symbols, digits, caps) and `context` (dangling, missing_context).
- `duplicates`  a key that is equal for prompts that differ in case, space and punctuation only.

Nothing here imports another folder of the project, reads the network or keeps state between rows.
"""
