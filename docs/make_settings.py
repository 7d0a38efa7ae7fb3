"""Write `settings.md`, the reference of all settings, from the fields that define them.

Run it after a change of `moos_integrations/core/config.py`: `python docs/make_settings.py`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from moos_integrations.core.checks import expected, stages
from moos_integrations.core.config import Settings

PAGE = Path(__file__).with_name("settings.md")
INTRODUCTION = """# Settings

<!-- Made by make_settings.py. Do not edit. -->

The same settings have the same names, defaults and checks everywhere:

* in Python: `ContextCompressor.from_pretrained(rate=0.5)`, `CompressorConfig(rate=0.5)`;
* in LangChain: `MOOSCompressor(rate=0.5)`;
* in LlamaIndex: `MOOSNodePostprocessor(rate=0.5)`, `MOOSNodeTransform(rate=0.5)`;
* on the command line: `moos compress --rate 0.5`.

Set at most one of `rate`, `budget_tokens` and `threshold`. A setting that cannot be used raises a `ConfigError` when
the object is built. A setting that has no effect beside the others is logged as a warning by the logger
`moos_integrations`. `embeddings`, `cache_store`, `similarity_scale` and `retriever_weight` are not on the command
line.
"""
ADVANCED = """
## `{stage}`

{text} Write `{stage}={{"{name}": ...}}` in Python and `--{option} ...` on the command line.

"""
HEADER = "| setting | values | default | meaning |\n| --- | --- | --- | --- |\n"
VALUES = {
    "protect": "a list of strings and compiled regular expressions",
    "tokenizer": "a string, a Hugging Face tokenizer or a callable",
    "cache_dir": "a path",
    "cache_store": "LangChain `BaseStore[str, bytes]` or LlamaIndex `BaseKVStore`",
    "embeddings": "LangChain `Embeddings` or LlamaIndex `BaseEmbedding`",
}
"""Values of the fields whose type does not say them."""


def page() -> str:
    """The whole page."""
    nested = stages(Settings)
    basic = {name: field for name, field in Settings.model_fields.items() if name not in nested}
    parts = [INTRODUCTION, "\n", HEADER, *_rows(basic)]
    for stage, model in nested.items():
        parts += [_heading(stage, model), HEADER, *_rows(model.model_fields)]
    return "".join(parts)


def _heading(stage: str, model: type[BaseModel]) -> str:
    name = next(iter(model.model_fields))
    text = (model.__doc__ or "").splitlines()[0]
    return ADVANCED.format(stage=stage, text=text, name=name, option=name.replace("_", "-"))


def _rows(fields: dict[str, FieldInfo]) -> list[str]:
    return [
        f"| `{name}` | {VALUES.get(name) or expected(field)} | `{field.default!r}` | {field.description} |\n"
        for name, field in fields.items()
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
