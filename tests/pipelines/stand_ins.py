"""Small local stand-ins for the sets of the shipped recipes: their columns and nesting, sentences of our own.

`write_sets` puts a folder for each source of a recipe, as the Hub lays it out; how each real set looks is written
down row by row in test_paper_recipe.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines.options import Source
from pipelines.recipe import Recipe
from tests.pipelines.test_paper_recipe import hermes, openai, sharegpt, wildchat

ASKS = (
    "Could you explain to me how {} works in simple words?", "What should a beginner know about {} before starting?",
    "Please tell me a short story in which {} plays a part.", "Why do so many people care about {} these days?",
    "Give me one good reason to learn more about {} this year.", "How would you describe {} to a curious child?",
    "What is the most common mistake that people make with {}?", "Name two things that everybody forgets about {}.",
    "When did people first begin to think about {}?", "Who would you ask for advice about {}, and why?",
    "What would the world look like without {}?", "How can I save money when it comes to {}?",
    "Is there anything dangerous about {} that I should know?", "What do experts disagree on when they talk about {}?",
    "Write a cheerful sentence about {} for a birthday card.", "How does the weather change the way we use {}?",
)  # fmt: skip
THINGS = (
    "a bicycle", "the moon", "bread baking", "a rain forest", "public libraries", "the human heart", "chess",
    "solar power", "a vegetable garden", "old maps", "mountain rivers", "the violin", "winter clothes",
    "honey bees", "train travel", "a lighthouse", "ancient bridges", "the desert", "coffee", "sailing boats",
    "kitchen knives", "a good night's sleep", "paper money", "wild horses", "stone walls", "the night sky",
    "street markets", "a wooden chair", "glass windows", "village festivals", "fresh water", "the spoken word",
    "handwriting", "a steep hill", "garden birds", "city parks",
)  # fmt: skip
FOLLOW_UPS = (
    "And why is that so important?", "Can you say it in other words?", "What would you do in my place?",
    "Which of the two is better?", "Thank you, and what comes after that?", "Could you give me an example of it?",
)  # fmt: skip
UNSPEAKABLE = (  # that a rewriting may mend, and that it may not
    "List three facts about {}:\n- one\n- two\n- three", "**Explain** {} in *one* line", "Q: What about {}?\nA:",
    "Visit https://example.org/about and sum up {}",
)  # fmt: skip


def questions(first: int) -> Iterator[str]:
    """Yield different questions, from a place in their list on."""
    number = first
    while True:
        yield ASKS[number % len(ASKS)].format(THINGS[(number // len(ASKS)) % len(THINGS)])
        number += 1


def answer(question: str) -> str:
    return f"You asked: {question} That depends on many things, but patience always helps."


def turns(question: str, exchanges: int) -> list[str]:
    """Return a conversation, as "u:..." and "a:..."."""
    asked = [question, *(FOLLOW_UPS[(len(question) + k) % len(FOLLOW_UPS)] for k in range(exchanges - 1))]
    return [f"{who}:{text}" for q in asked for who, text in (("u", q), ("a", answer(q)))]


def _chat(column: str, style: Callable[..., Any], **more: Any) -> Callable[[str, int], dict[str, Any]]:
    return lambda question, exchanges: {column: style(*turns(question, exchanges)), **more}


# source -> a row of it, from a question and how many exchanges there are
LAYOUTS: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "openhermes": lambda q, _: hermes(f"u:{q}", f"a:{answer(q)}"),
    "orca_dpo_pairs": lambda q, _: {"system": "", "question": q, "chosen": answer(q), "rejected": "No."},
    "gpt4_dataset": lambda q, _: {"prompt": q, "gpt4_response": answer(q), "mixtral_response": "Weak"},
    "gpt4all_j": lambda q, _: {"prompt": q, "response": answer(q), "source": "laion/unified_chip2"},
    "orca_math": lambda q, _: {"question": q, "answer": answer(q)},
    "wildchat": lambda q, _: wildchat("gpt-4-0314", "English", 1, q),
    "oo_gpt4": lambda q, _: {"id": q, "system_prompt": "Be kind.", "question": q, "response": answer(q)},
    "magpie_pro": _chat("conversations", sharegpt, uuid="4f0c"),
    "pubmedqa": lambda q, _: {"pubid": 1, "question": q, "long_answer": answer(q), "final_decision": "yes"},
    "capybara": _chat("conversations", sharegpt, source="Amplify"),
    "prism": lambda q, _: {"user_prompt": q, "model_response": answer(q), "if_chosen": True},
    "infinity_instruct": _chat("conversations", sharegpt, id=1, source="flan"),
    "magpie_pro_mt": _chat("conversations", sharegpt, uuid="4f0c"),
    "gsm8k_multiturn": _chat("conversations", openai),
    "everyday": _chat("messages", openai, full_topic="Travel/Tips"),
    "alpaca": lambda q, _: {"instruction": q, "input": "", "output": answer(q), "text": "Below is an instruction."},
    "ultrachat": _chat("messages", openai, prompt_id="f0e3"),
}
EXCHANGES = {"magpie_pro_mt": (2,), "gsm8k_multiturn": (4, 5), "everyday": (4, 3), "ultrachat": (3,)}


def write_set(source: Source, folder: Path, rows: int, first: int) -> None:
    """Write a set of so many rows, every twelfth of which nobody could say as it stands."""
    asked = questions(first)
    exchanges = EXCHANGES.get(source.name, (1,))
    records = []
    for number in range(rows):
        question = next(asked)
        if number % 12 == 11:
            question = UNSPEAKABLE[number // 12 % len(UNSPEAKABLE)].format(THINGS[(first + number) % len(THINGS)])
        records.append(LAYOUTS[source.name](question, exchanges[number % len(exchanges)]))
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(records), folder / "data" / f"{source.split}-00000-of-00001.parquet")
    files = [{"split": source.split, "path": f"data/{source.split}-*"}]
    configs = [{"config_name": source.config or "default", "data_files": files}]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")


def write_sets(recipe: Recipe, folder: Path, rows: int) -> dict[str, Any]:
    """Write a set for each source of a recipe; return the changes that make the recipe read them."""
    for number, source in enumerate(recipe.sources):
        write_set(source, folder / source.name, rows, number * rows)
    return {f"sources.{source.name}.hf": source.name for source in recipe.sources} | {"root": str(folder)}
