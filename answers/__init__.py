"""Questions to servers: asked once, stored before they are used, checked.

`answers.llm` asks language models; `answers.asking` and `answers.store` serve `tts.openai_speech` as well.
"""
