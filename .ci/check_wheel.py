"""Run in an environment that holds the wheel and its base dependencies only: it must import, and compress."""

import sys
import warnings

import moos_integrations
from moos_integrations import ContextCompressor, MissingExtraError

assert "torch" not in sys.modules, "importing the package must not load torch"
# Not the command line: transformers may bring typer and rich along.
for module, extra in (("langchain", "langchain"), ("llama_index", "llama-index")):
    try:
        __import__(f"moos_integrations.{module}")
    except MissingExtraError as error:
        assert f"moos-integrations[{extra}]" in str(error), error
    else:
        raise AssertionError(f"moos_integrations.{module} imported without its extra")

warnings.simplefilter("error")
text = "The meeting, which was long, ended at 17:30 on 3 May. Nobody knows why."
# A callable counter: the tiktoken encodings are not in the wheel.
result = ContextCompressor.from_pretrained(rate=0.5, tokenizer=lambda part: len(part.split())).compress(text)
assert 0 < result.kept_tokens <= result.original_tokens // 2, result
print(f"wheel {moos_integrations.__version__} works alone: {result.text!r}")  # noqa: T201
