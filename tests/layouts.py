"""Texts in the layouts that people write, made from their contents; and the atoms that no compressor may cut.

Every maker is a pure function of its arguments; where chance is wanted, it takes a `random.Random`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from hypothesis import strategies as st

Section = tuple[str, Sequence[str]]
"""A title and the sentences under it."""
Exchange = tuple[str, str]
"""A question and its answer."""


def _split(words: str) -> list[str]:
    return words.split()


# --- characters ------------------------------------------------------------------------------------------------------

HARD = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from(
            [*list("ab1 .,-'’\n\r\t/@_:()|#$%—"), "́", "\u200d", "️", "😀", "🇩", "🇪", "你", "ก", "ำ", "क", "्"]
        ),
    ),
    max_size=80,
)
"""Short texts of the characters that are hard to cut: marks, joiners, line breaks, scripts without spaces."""


# --- sections of alike sentences, in ten layouts ---------------------------------------------------------------------


def _prose(sentences: Sequence[str]) -> str:
    return " ".join(sentences)


def _key(title: str) -> str:
    return title.lower().replace(" ", "_")


def _titled(before: str, behind: str, between: str = "\n\n") -> Callable[[Sequence[Section]], str]:
    def text(sections: Sequence[Section]) -> str:
        return "\n\n".join(f"{before}{title}{behind}{between}{_prose(body)}" for title, body in sections) + "\n"

    return text


def _underlined(sections: Sequence[Section]) -> str:
    return "\n\n".join(f"{title}\n{'-' * len(title)}\n{_prose(body)}" for title, body in sections) + "\n"


def _bracketed(sections: Sequence[Section]) -> str:
    return "\n".join(f"[{_key(title)}]\n{_prose(body)}\n" for title, body in sections)


def _numbered(sections: Sequence[Section]) -> str:
    return "\n\n".join(f"{n}. {title}\n\n{_prose(body)}" for n, (title, body) in enumerate(sections, 1)) + "\n"


def _html(sections: Sequence[Section]) -> str:
    return "\n".join(f"<h3>{title}</h3>\n<p>{_prose(body)}</p>" for title, body in sections) + "\n"


def _spoken(sections: Sequence[Section]) -> str:
    return "\n".join(f"{title}: {_prose(body)}" for title, body in sections) + "\n"


def _comma_separated(sections: Sequence[Section]) -> str:
    rows = [f'{title},"{_prose(body)}"' for title, body in sections]
    return "\n".join(["name,description", *rows]) + "\n"


def _pipes(sections: Sequence[Section]) -> str:
    rows = [f"| {title} | {_prose(body)} |" for title, body in sections]
    return "\n".join(["| Name | Description |", "|---|---|", *rows]) + "\n"


def _yaml(sections: Sequence[Section]) -> str:
    items = [f"{_key(title)}:\n" + "".join(f"  - {sentence}\n" for sentence in body) for title, body in sections]
    return "".join(items)


SECTIONS: dict[str, Callable[[Sequence[Section]], str]] = {
    "atx": _titled("## ", ""),
    "label": _titled("", ":", "\n"),
    "bold": _titled("**", "**"),
    "bracketed": _bracketed,
    "underlined": _underlined,
    "numbered": _numbered,
    "html": _html,
    "spoken": _spoken,
    "csv": _comma_separated,
    "yaml": _yaml,
    "pipes": _pipes,
    "label, blank line": _titled("", ":"),
    "plain": _titled("", ""),
}
"""Layouts of sections. In "spoken", "csv" and "pipes" a section's title and sentences share a line."""


# --- questions and answers, in seven layouts --------------------------------------------------------------------------


def _faq(exchanges: Sequence[Exchange]) -> str:
    return "\n\n".join(f"Q: {question}\nA: {answer}" for question, answer in exchanges) + "\n"


def _asking_headings(exchanges: Sequence[Exchange]) -> str:
    return "\n\n".join(f"## {question}\n\n{answer}" for question, answer in exchanges) + "\n"


def _forum(exchanges: Sequence[Exchange]) -> str:
    posts = [
        f"**user{n} asked:**\n\n{question}\n\n**Accepted answer:**\n\n{answer}"
        for n, (question, answer) in enumerate(exchanges, 11)
    ]
    return "\n\n---\n\n".join(posts) + "\n"


def _interview(exchanges: Sequence[Exchange]) -> str:
    return "\n\n".join(f"Interviewer: {question}\n\nDr. Example: {answer}" for question, answer in exchanges) + "\n"


def _chat(exchanges: Sequence[Exchange]) -> str:
    lines = []
    for n, (question, answer) in enumerate(exchanges):
        lines += [f"[{9 + n % 9:02}:{14 + n % 40}] Priya: {question}", f"[{9 + n % 9:02}:{15 + n % 40}] Ravi: {answer}"]
    return "\n".join(lines) + "\n"


def _quiz(exchanges: Sequence[Exchange]) -> str:
    return "\n\n".join(f"{n}. {q}\nAnswer: {a}" for n, (q, a) in enumerate(exchanges, 1)) + "\n"


def _tickets(exchanges: Sequence[Exchange]) -> str:
    tickets = [
        f"Ticket #{4710 + n}\nStatus: solved\n\nCustomer wrote:\n{question}\n\nSupport replied:\n{answer}"
        for n, (question, answer) in enumerate(exchanges)
    ]
    return "\n\n-----\n\n".join(tickets) + "\n"


EXCHANGES: dict[str, Callable[[Sequence[Exchange]], str]] = {
    "faq": _faq,
    "headings": _asking_headings,
    "forum": _forum,
    "interview": _interview,
    "chat": _chat,
    "quiz": _quiz,
    "tickets": _tickets,
}
"""Layouts of questions with their answers."""


# --- structured text, in more than eight kinds -----------------------------------------------------------------------

_NAMES = _split("alpha beta gamma delta total price count region owner status limit timeout")
_WORDS = _split("started stopped failed connected refused accepted dropped renewed expired")


def _value(random: Random) -> str:
    return str(random.choice([random.randrange(10_000), round(random.random() * 100, 2), -random.randrange(1, 99)]))


def _code(random: Random, size: int) -> list[str]:
    lines = []
    for n in range(size):
        name, other = random.sample(_NAMES, 2)
        lines += [
            f"def {name}_{n}({other}, factor={_value(random)}):\n",
            f"    if {other} > {_value(random)}:\n",
            f"        return {other} * factor\n",
            f"    return round({other} / {random.randrange(2, 9)}, 2)\n",
            "\n",
        ]
    return lines[:-1]


def _table(random: Random, size: int) -> list[str]:
    rows = [f"| {random.choice(_NAMES)} {n} | {_value(random)} | {_value(random)} € |\n" for n in range(size)]
    return ["| Name | Count | Price |\n", "|------|-------|-------|\n", *rows]


def _csv(random: Random, size: int) -> list[str]:
    rows = [
        f"{random.choice(_NAMES)}{n},{_value(random)},{_value(random)},{random.choice(_WORDS)}\n" for n in range(size)
    ]
    return ["name,count,price,state\n", *rows]


def _log(random: Random, size: int) -> list[str]:
    levels = ["INFO", "WARN", "ERROR", "DEBUG"]
    return [
        f"2024-05-{1 + n % 28:02} 10:{n % 60:02}:01 {random.choice(levels)} {random.choice(_NAMES)} "
        f"{random.choice(_WORDS)} after {_value(random)} ms\n"
        for n in range(size)
    ]


def _list(random: Random, size: int) -> list[str]:
    lines = []
    for n in range(size):
        lines.append(f"- {random.choice(_NAMES).title()} {n}\n")
        lines += [f"  - {random.choice(_NAMES)} {random.choice(_WORDS)} {_value(random)}\n" for _ in range(n % 3)]
    return lines


def _diff(random: Random, size: int) -> list[str]:
    lines = ["--- a/config.py\n", "+++ b/config.py\n"]
    for n in range(size):
        name = random.choice(_NAMES)
        lines += [
            f"@@ -{10 * n + 1},3 +{10 * n + 1},3 @@\n",
            f" limit_{n} = {_value(random)}\n",
            f"-{name} = {_value(random)}\n",
            f"+{name} = {_value(random)}\n",
            " done = True\n",
        ]
    return lines


def _settings(random: Random, size: int) -> list[str]:
    lines = []
    for n in range(size):
        lines.append(f"{random.choice(_NAMES)}_{n}:\n")
        lines += [f"  {name}: {_value(random)}\n" for name in random.sample(_NAMES, 2)]
    return lines


def _json(random: Random, size: int) -> list[str]:
    lines = ["{\n"]
    for n in range(size):
        lines += [
            f'  "{random.choice(_NAMES)}_{n}": {{\n',
            f'    "count": {_value(random)},\n',
            f'    "state": "{random.choice(_WORDS)}"\n',
            "  },\n" if n < size - 1 else "  }\n",
        ]
    return [*lines, "}\n"]


def _trace(random: Random, size: int) -> list[str]:
    lines = []
    for n in range(size):
        lines += [
            f"java.lang.IllegalStateException: {random.choice(_NAMES)} {random.choice(_WORDS)}\n",
            f"    at org.example.app.Boot.start(Boot.java:{random.randrange(1, 99)})\n",
            f"    at org.example.app.Main.main(Main.java:{random.randrange(1, 99)})\n",
            f"Caused by: java.io.IOException: code {n}\n",
            f"    at org.example.app.Reader.read(Reader.java:{random.randrange(1, 99)})\n",
        ]
    return lines


STRUCTURED: dict[str, Callable[[Random, int], list[str]]] = {
    "code": _code,
    "table": _table,
    "csv": _csv,
    "log": _log,
    "list": _list,
    "diff": _diff,
    "settings": _settings,
    "json": _json,
    "trace": _trace,
}
"""Kinds of structured text. Each maker gives the lines, with their line breaks, of about `size` entries."""


# --- atoms -----------------------------------------------------------------------------------------------------------

_MONTHS = _split("January February March April May June July August September October November December")
_SPACES = ["\u00a0", "\u202f", " ", "\u2009"]


def _digits(random: Random, longest: int = 3) -> str:
    return str(random.randrange(1, 10 ** random.randint(1, longest)))


def _grouped(random: Random) -> str:
    separator = random.choice([*_SPACES, ",", ".", "'", "’"])
    return separator.join([_digits(random), *(f"{random.randrange(1000):03}" for _ in range(random.randint(1, 2)))])


def _decimal(random: Random) -> str:
    return f"{_digits(random)}{random.choice('.,')}{random.randrange(100):02}"


def _amount(random: Random) -> str:
    number = random.choice([_digits, _grouped, _decimal])(random)
    space = random.choice(["", "\u00a0", " "])
    return random.choice(
        [
            f"{random.choice('€$£¥')}{space}{number}",
            f"{number}{space}{random.choice('€$£')}",
            f"USD {number}",
            f"{number} EUR",
        ]
    )


def _signed(random: Random) -> str:
    return f"{random.choice(['-', '−', '+', '±', '~', '− ', '± '])}{random.choice([_digits, _decimal])(random)}"


def _measured(random: Random) -> str:
    unit = random.choice(["km", "m/s", "°C", "%", "GB", "kWh", "mg", "ms", "cups", "km/h", "mg/kg", "hours", "million"])
    return f"{random.choice([_digits, _decimal])(random)}{random.choice([' ', chr(0xA0)])}{unit}"


def _fraction(random: Random) -> str:
    return f"{_digits(random, 1)} 1/{random.choice('2348')} cups"


def _times(random: Random) -> str:
    return f"{_decimal(random)}x"


def _range(random: Random) -> str:
    low = random.randrange(1, 50)
    return f"{low}{random.choice(['-', '–', ' – '])}{low + random.randrange(1, 50)}{random.choice(['', ' %', ' km'])}"


def _comparison(random: Random) -> str:
    return random.choice(
        [
            f">= {_digits(random)}",
            f"p < 0.{random.randrange(1, 99):02}",
            f"≥ {_digits(random)}",
            f"n = {_digits(random)}",
        ]
    )


def _date(random: Random) -> str:
    day, month, year = random.randrange(1, 29), random.choice(_MONTHS), random.randrange(1900, 2100)
    return random.choice(
        [f"{day} {month} {year}", f"{month} {day}, {year}", f"{year}-{random.randrange(1, 13):02}-{day:02}",
         f"{day}. {month} {year}", f"{day} {month[:3]} {year}", f"{month} {day}",
         f"{day}/{random.randrange(1, 13)}/{year}"]
    )  # fmt: skip


def _clock(random: Random) -> str:
    return random.choice(
        [
            f"{random.randrange(24)}:{random.randrange(60):02}",
            f"{random.randrange(1, 13)} p.m",
            f"{random.randrange(1, 13)}:30 pm",
        ]
    )


def _phone(random: Random) -> str:
    a, b, c = random.randrange(100, 999), random.randrange(100, 999), random.randrange(1000, 9999)
    return random.choice([f"+49 30 {a}{b}{c % 10}", f"(0{a}) {b}-{c}", f"+1 ({a}) {b}-{c}", f"{a}-{b}-{c}"])


def _iban(random: Random) -> str:
    groups = " ".join(f"{random.randrange(10000):04}" for _ in range(4))
    return f"DE{random.randrange(10, 99)} {groups} {random.randrange(10, 99)}"


def _version(random: Random) -> str:
    return (
        random.choice(["v", ""])
        + ".".join(_digits(random, 2) for _ in range(3))
        + random.choice(["", "-rc1", "-beta.2", "+build.5"])
    )


def _option(random: Random) -> str:
    return random.choice(["--force", "--max-length", "-v", "--dry-run", "--level=3"])


def _reference(random: Random) -> str:
    n = random.randrange(1, 99)
    return random.choice(
        [f"Art. {n}(3)(b)", f"§ {n} Abs. 2", f"Sec. {n}", f"No. {n}", f"Article {n}(1)(a)", f"Fig. {n}", f"p. {n}"]
    )


def _name_like(random: Random) -> str:
    return random.choice(
        ["user_id", "ORD-99172", "a.b.c()", "don't", "C++", "state-of-the-art", "ada@b.example",
        "https://example.org/a?b=c&d=%20e",
         "/usr/lib/python3/x.py", "192.168.0.1", "timeout=30", "#42", "№5"]
    )  # fmt: skip


ATOMS: dict[str, Callable[[Random], str]] = {
    "number": _digits,
    "grouped": _grouped,
    "decimal": _decimal,
    "amount": _amount,
    "signed": _signed,
    "measured": _measured,
    "fraction": _fraction,
    "times": _times,
    "range": _range,
    "comparison": _comparison,
    "date": _date,
    "clock": _clock,
    "phone": _phone,
    "iban": _iban,
    "version": _version,
    "option": _option,
    "reference": _reference,
    "name-like": _name_like,
}
"""Forms of atoms: what is one word, whatever is around it."""
