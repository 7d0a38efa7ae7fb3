"""Run in an environment that has the wheel with at most one extra: nothing else is there, and what it offers works.

    python .ci/check_installed.py          # the wheel alone
    python .ci/check_installed.py eval     # the wheel with one extra

Needs no network and refuses any connection. Python packages that neither the wheel nor the extra requires are an error,
so that no other extra can help out unseen.
"""

import ast
import contextlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from importlib.metadata import PackageNotFoundError, distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "moos-integrations"
# What an import in an example of the README needs; an empty name: a package outside of our extras.
NEEDS = {
    "langchain_classic": "",
    "langchain_core": "langchain",
    "llama_index": "llama-index",
    "moos_integrations.evaluation": "eval",
    "moos_integrations.langchain": "langchain",
    "moos_integrations.llama_index": "llama-index",
    "moos_integrations.training": "train",
}
TEXT = "The meeting, which was really very long, ended at 17:30 on 3 May. Nobody knows why. It rained all day long."
QUESTION = "When did the meeting end?"


def main(extra: str | None) -> None:
    """Check what is installed, then use it."""
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    tempfile.tempdir = tempfile.mkdtemp()  # where tiktoken would keep what it downloaded before
    socket.socket.connect = refuse
    check_packages(extra)
    # An extra's dependencies may warn of each other; the package alone is silent.
    warnings.simplefilter("default" if extra else "error")
    {
        None: use_alone,
        "langchain": lambda: use_framework("langchain"),
        "llama-index": lambda: use_framework("llama-index"),
        "cli": use_cli,
        "eval": use_evaluation,
        "train": use_training,
        "agents": use_agents,
        "serve": use_server,
        "mcp": use_mcp,
        "haystack": use_haystack,
        "ray": use_ray,
        "comi": use_comi,
    }[extra]()


def refuse(self: socket.socket, address: object) -> None:
    """In place of `socket.connect`."""
    raise ConnectionError(f"a connection to {address} was tried")


# --- what is installed -----------------------------------------------------------------------------------------------


def check_packages(extra: str | None) -> None:
    """Exactly what the wheel and the extra require is installed, and the package comes from the wheel."""
    import moos_integrations

    assert "torch" not in sys.modules, "importing the package must not load torch"
    assert Path(moos_integrations.__file__).parents[1] != Path(__file__).parents[1], "the source tree is in use"
    found = {canonicalize_name(each.metadata["Name"]) for each in distributions()} - {"pip", "setuptools", "wheel"}
    strange = found - required(Requirement(f"{PACKAGE}[{extra}]" if extra else PACKAGE), set())
    assert not strange, f"neither {PACKAGE} nor its extra {extra} requires {sorted(strange)}"


def required(requirement: Requirement, seen: set[tuple[str, str]]) -> set[str]:
    """Names of the installed packages that a requirement leads to."""
    name = canonicalize_name(requirement.name)
    names = set()
    for extra in ("", *requirement.extras):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        names.add(name)
        for inner in map(Requirement, lines):
            if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                names |= required(inner, seen)
    return names


# --- what it does ----------------------------------------------------------------------------------------------------


def use_alone() -> None:
    """The adapters name the extra that is missing; the core compresses."""
    from moos_integrations import ContextCompressor, MissingExtraError

    # Not the command line: transformers may bring typer and rich along.
    for module, extra in (("langchain", "langchain"), ("llama_index", "llama-index")):
        try:
            __import__(f"moos_integrations.{module}")
        except MissingExtraError as error:
            assert f"moos-integrations[{extra}]" in str(error), error
        else:
            raise AssertionError(f"moos_integrations.{module} imported without its extra")
    result = ContextCompressor.from_pretrained(rate=0.5).compress(TEXT)
    assert 0 < result.kept_tokens <= result.original_tokens // 2, result
    use_readme(None)


def use_framework(extra: str) -> None:
    """The README's examples of an adapter find the answer."""
    assert "17:30" in use_readme(extra)


def use_readme(extra: str | None) -> str:
    """Run the README's examples that need no other extra, one after the other; what they print."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    namespace: dict[str, object] = {}
    done = []
    printed = io.StringIO()
    for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        needs = extras_of(block)
        if needs <= {extra}:
            with contextlib.redirect_stdout(printed):
                exec(compile(block, "README.md", "exec"), namespace)
            done.append(needs)
    assert {extra} - {None} in done, f"the README has no example of {extra}"
    return printed.getvalue()


def extras_of(block: str) -> set[str]:
    """The extras that the imports of an example need."""
    modules = []
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            modules.append(node.module or "")
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    assert modules, f"an example of the README imports nothing, so that its extra is unknown:\n{block}"
    return {extra for module in modules for prefix, extra in NEEDS.items() if f"{module}.".startswith(f"{prefix}.")}


def use_cli() -> None:
    """`moos compress` and `moos explain` as programs of their own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "notes.txt")
        file.write_text(TEXT, encoding="utf-8")
        short = moos("compress", str(file), "--rate", "0.5")
        assert 0 < len(short.strip()) < len(TEXT), short
        assert "meeting" in moos("explain", str(file), "--rate", "0.5")


def moos(*arguments: str) -> str:
    """What the program prints."""
    program = Path(sysconfig.get_path("scripts"), "moos")
    environment = {**os.environ, "PYTHONUTF8": "1"}
    done = subprocess.run([program, *arguments], capture_output=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def use_evaluation() -> None:
    """The README's examples, and a plot of what every rate leaves of the answers."""
    from moos_integrations import ContextCompressor
    from moos_integrations.evaluation import rate_curves, rouge

    use_readme("eval")
    curves = rate_curves(ContextCompressor.from_pretrained(), [QUESTION], [[TEXT]], [["17:30"]], rates=(0.3, 0.6))
    drawing = io.BytesIO()
    curves.plot().figure.savefig(drawing, format="png")
    assert drawing.getvalue().startswith(b"\x89PNG")
    assert rouge(TEXT, [TEXT]) == (1.0, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        data, report = question_in(folder), Path(folder, "report")
        assert "bm25" in moos("evaluate", "--data", str(data), "--output", str(report))
        assert len(list(report.iterdir())) == 3


def question_in(folder: str) -> Path:
    """A file with one question, its document and its answer."""
    file = Path(folder, "questions.jsonl")
    record = {"question": QUESTION, "documents": [TEXT], "answers": ["17:30"]}
    file.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return file


def use_training() -> None:
    """A model is trained, and compresses."""
    from moos_integrations import ContextCompressor
    from moos_integrations.training.tiny import train_tiny

    with tempfile.TemporaryDirectory() as folder:
        record = train_tiny(Path(folder))
        assert record["accuracy"] >= 0.95, record  # words that no label tells apart stay wrong
        result = ContextCompressor.from_pretrained(str(Path(folder, "model")), rate=0.5).compress(TEXT, QUESTION)
        assert 0 < result.kept_tokens < result.original_tokens
        trained = moos("train", "--data", str(question_in(folder)), "--output", str(Path(folder, "run"))).strip()
        assert ContextCompressor.from_pretrained(trained).compress(TEXT, QUESTION, rate=0.5).text


def use_agents() -> None:
    """An agent reads the pruned result of a tool."""
    from langchain.agents import create_agent
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage, ToolMessage
    from langchain_core.tools import tool

    from moos_integrations.agents import MOOSToolOutputMiddleware

    @tool
    def read_log() -> str:
        """Read the log."""
        return "\n".join(f"2026-05-01 12:00:{i:02} INFO worker {i} is idle" for i in range(60)) + f"\n{TEXT}"

    class Scripted(GenericFakeChatModel):
        def bind_tools(self, tools: object, **_: object) -> "Scripted":
            return self

    call = {"name": "read_log", "args": {}, "id": "1"}
    model = Scripted(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("17:30")]))
    agent = create_agent(model, [read_log], middleware=[MOOSToolOutputMiddleware(budget_tokens=150)])
    messages = agent.invoke({"messages": [("user", QUESTION)]})["messages"]
    (result,) = [message for message in messages if isinstance(message, ToolMessage)]
    assert "17:30" in result.content, result.content
    assert "read_omitted" in result.content, result.content


def use_server() -> None:
    """The application answers a request, without a network."""
    import asyncio

    from moos_integrations import ContextCompressor
    from moos_integrations.serving import create_app

    app = create_app(ContextCompressor.from_pretrained())
    body = json.dumps({"documents": [TEXT], "query": QUESTION, "rate": 0.7}).encode()
    scope = {"type": "http", "method": "POST", "path": "/v1/compress", "headers": [], "query_string": b""}
    sent: list[dict] = []

    async def ask() -> None:
        came = iter([{"type": "http.request", "body": body}])

        async def receive() -> dict:
            return next(came, None) or await asyncio.Event().wait()

        async def send(message: dict) -> None:
            sent.append(message)

        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 200, sent
    assert "17:30" in json.loads(sent[1]["body"])["text"], sent


def use_mcp() -> None:
    """A client gets a shortened text."""
    import asyncio

    from mcp import Client

    from moos_integrations import ContextCompressor
    from moos_integrations.serving import create_mcp

    async def ask() -> str:
        async with Client(create_mcp(ContextCompressor.from_pretrained())) as client:
            other = " ".join(f"It rained on day {day} of the year." for day in range(30))
            call = {"documents": [TEXT, other], "query": QUESTION, "budget_tokens": 80}
            return (await client.call_tool("compress", call)).content[0].text

    assert "17:30" in asyncio.run(ask())


def use_haystack() -> None:
    """A pipeline's documents get shorter."""
    from haystack import Document, Pipeline

    from moos_integrations.haystack import MOOSDocumentCompressor

    pipeline = Pipeline()
    pipeline.add_component("compressor", MOOSDocumentCompressor(rate=0.7))
    call = {"documents": [Document(content=TEXT)], "query": QUESTION}
    (document,) = pipeline.run({"compressor": call})["compressor"]["documents"]
    assert "17:30" in document.content
    assert len(document.content) < len(TEXT)


def use_comi() -> None:
    """The command trains soft compression for a tiny LLM, which then answers; the adapters name their extras."""
    from moos_integrations import MissingExtraError
    from moos_integrations.comi import COMI

    for module, extra in (("langchain", "langchain"), ("llama_index", "llama-index")):
        try:
            __import__(f"moos_integrations.comi.{module}")
        except MissingExtraError as error:
            assert f"moos-integrations[{extra}]" in str(error), error
        else:
            raise AssertionError(f"moos_integrations.comi.{module} imported without its extra")
    with tempfile.TemporaryDirectory() as folder:
        save_tiny_llm(folder)
        recipe = {
            "base": folder,
            "steps": 2,
            "held_out": 0.0,
            "method": {"encoder_layers": 1, "merge_size": 4},
            "tuning": {"rank": 2},
            "merge_sizes": [4],
            "device": "cpu",
        }
        Path(folder, "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
        run = str(Path(folder, "run"))
        data = str(question_in(folder))
        model = moos("comi", "train", str(Path(folder, "recipe.json")), "--data", data, "--output", run).strip()
        comi = COMI.from_pretrained(model, device="cpu")
        memory = comi.compress([TEXT], QUESTION)
        assert 0 < memory.positions < memory.context_tokens
        assert len(comi.answer(memory, max_new_tokens=2)) == 1
        moos("comi", "export", model, str(Path(folder, "decoder")))


def save_tiny_llm(folder: str) -> None:
    """A Llama with random weights, and a tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab={**letters, "</s>": len(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(letters) + 1, **sizes)).save_pretrained(folder)


def use_ray() -> None:
    """What cannot work is refused; a cluster, which needs connections, is for the tests."""
    from moos_integrations import ConfigError, corpora

    try:
        corpora.precompute([])
    except ConfigError as error:
        assert "nowhere to keep scores" in str(error), error
    else:
        raise AssertionError("`precompute` accepted a list")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
    print(f"{' with '.join(['the wheel', *sys.argv[1:]])}: works")  # noqa: T201
