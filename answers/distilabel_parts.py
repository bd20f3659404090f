"""The parts of distilabel that are used, imported without what importing it does to a process.

It warns of its own models, and has rich print every uncaught error with all local variables, a server's key among them.
"""

import sys
import warnings

# Of distilabel's fields, told again for every class that is derived from its models.
warnings.filterwarnings("ignore", message=r"The 'default' attribute with value None was provided to the `Field\(\)`")

_hook = sys.excepthook
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from distilabel.models.llms.base import AsyncLLM
    from distilabel.models.llms.openai import OpenAILLM
    from distilabel.steps.tasks.base import Task
sys.excepthook = _hook

__all__ = ["AsyncLLM", "OpenAILLM", "Task"]
