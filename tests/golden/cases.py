"""The texts of the snapshot, and how each is compressed. All were written for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PLAIN: Mapping[str, Mapping[str, Any]] = {"rate 0.4": {"rate": 0.4}, "threshold 0.5": {"threshold": 0.5}}
ASKED: Mapping[str, Mapping[str, Any]] = {
    "rate 0.5": {"rate": 0.5},
    "40 tokens": {"budget_tokens": 40},
    "default threshold": {},
}


@dataclass(frozen=True)
class Case:
    """Texts of one request and the ways to compress them.

    Attributes:
        texts: The documents.
        question: What they are asked.
        settings: Of the compressor.
        plain: Targets without the question, by name.
        asked: Targets with it.
    """

    texts: tuple[str, ...]
    question: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    plain: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: PLAIN)
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: ASKED)


_PROSE = (
    "The ferry to Holm left at 6:40 with eleven passengers on board. Captain Ines Aldaz, who had run the line for "
    "nineteen years, saw the fog bank early and slowed down to four knots. Nobody complained. At the second buoy the "
    "engine failed, because salt water had reached the fuel filter. The crew dropped the anchor and called the harbour "
    "office, which sent a tug within half an hour. Breakfast was served in the meantime. All passengers reached the "
    "island by nine, and the company paid back 32 euros to each of them."
)
_TABLE = (
    "Rooms of the guest house, prices per night.\n\n"
    "| room | beds | view | price |\n"
    "|---|---|---|---|\n"
    "| Anemone | 2 | garden | 74 EUR |\n"
    "| Birch | 1 | street | 51 EUR |\n"
    "| Clover | 4 | lake | 129 EUR |\n"
    "| Dahlia | 2 | lake | 98 EUR |\n"
    "| Elder | 3 | garden | 88 EUR |\n\n"
    "Breakfast is included. Dogs are welcome in Anemone and Elder only."
)
_CSV = (
    "station,line,opened,platforms,lift\n"
    "Alder Street,red,1931,2,no\n"
    "Brook Hill,red,1934,2,yes\n"
    "Castle Gate,blue,1962,4,yes\n"
    "Dock Road,green,1988,3,yes\n"
    "East Market,blue,1962,2,no\n"
)
_CODE = '''import time


class Retry:
    """Calls a function again when it fails."""

    def __init__(self, attempts: int = 3, pause: float = 0.5) -> None:
        self.attempts = attempts
        self.pause = pause

    def call(self, function):
        for attempt in range(1, self.attempts + 1):
            try:
                return function()
            except TimeoutError:
                if attempt == self.attempts:
                    raise
                time.sleep(self.pause * 2 ** attempt)


def fetch(client, name):
    # The server is slow on Mondays.
    return Retry(attempts=5).call(lambda: client.get(name))
'''
_LOG = (
    "2026-03-02T04:11:09Z INFO  api-2  request GET /orders/8812 took 41 ms\n"
    "2026-03-02T04:11:10Z INFO  api-2  request GET /orders/8813 took 39 ms\n"
    "2026-03-02T04:11:12Z WARN  db-1   connection pool is at 48 of 50\n"
    "2026-03-02T04:11:14Z ERROR api-2  request POST /orders failed: pool exhausted (E5031)\n"
    "2026-03-02T04:11:14Z ERROR api-2  request POST /orders failed: pool exhausted (E5031)\n"
    "2026-03-02T04:11:15Z INFO  api-1  health check passed\n"
    "2026-03-02T04:11:20Z INFO  db-1   pool size raised to 80 by operator m.ruiz\n"
    "2026-03-02T04:11:21Z INFO  api-2  request POST /orders took 63 ms\n"
)
_LIST = (
    "Before you leave the workshop:\n"
    "1. Switch off the compressor and open its drain valve.\n"
    "2. Sweep the floor; do not use compressed air.\n"
    "3. Put oily rags into the red steel bin, never into the paper bin.\n"
    "4. Close the gas bottles:\n"
    "   - acetylene first,\n"
    "   - then oxygen.\n"
    "5. Hang the key on hook 7 and sign the book.\n"
)
_GERMAN = (
    "Die Bücherei in der Mühlgasse öffnet seit Januar auch sonntags von 10 bis 14 Uhr. Sie hat rund 18.000 Bände und "
    "ein kleines Café, das der Förderverein betreibt. Ausweise kosten 12 Euro im Jahr, für Kinder unter vierzehn sind "
    "sie kostenlos. Im Keller lagert eine Sammlung alter Landkarten. Wer ein Buch zu spät zurückgibt, zahlt ab dem "
    "dritten Tag 20 Cent je Tag. Der Umbau des Dachgeschosses beginnt nicht vor Herbst 2027."
)
_CHINESE = (
    "老茶馆在河边开了三十年。老板姓林，每天早上五点起床烧水。店里只有十二张桌子，最便宜的绿茶一壶八元。"
    "去年夏天发大水，一楼全部被淹，修理花了四个月。客人们自己带来工具帮忙。现在茶馆星期一休息，其他日子开到晚上九点。"
)
_MARKDOWN = (
    "# Backups\n\n"
    "Backups run every night at 02:00 and take about forty minutes.\n\n"
    "## Restore\n\n"
    "Ask the person on duty for the key. Then run `vault restore --from latest` on host `nas-3`; it does not overwrite "
    "files that are newer than the backup.\n\n"
    "## Retention\n\n"
    "Daily backups are kept for 14 days, weekly ones for 10 weeks. Nothing is kept for longer than a year, except "
    "invoices.\n"
)
_JSON = (
    '{"sensor": "T-17", "place": "cold store", "unit": "celsius", "limits": {"low": -24.0, "high": -16.5}, '
    '"readings": [{"at": "06:00", "value": -19.2}, {"at": "07:00", "value": -18.8}, {"at": "08:00", "value": -11.4}], '
    '"alarm": true, "called": "Jonas Brandt"}'
)
_MAIL = (
    "Hi Petra,\n\nthanks for the samples, they came on Tuesday. The blue glaze is lovely, but it cracks when we fire "
    "it above 1,180 °C, so we cannot use it for the big bowls. Could you send two kilos of the matt white instead? "
    "Please write order number KM-2207 on the box.\n\nBy the way, the dog is fine again.\n\nBest wishes\nTomasz"
)
_BRIDGE = (
    "The stone bridge at Varn was built in 1764 by the mason Odile Perrin. It has three arches and carries one lane of "
    "traffic. Each spring the town counts the swallows that nest below it.",
    "Varn has 3,100 inhabitants and a market on Thursdays. The stone bridge at Varn was built in 1764 by the mason "
    "Odile Perrin. Lorries over 7.5 tonnes must take the road through Sels.",
    "In Sels, a mill of the eighteenth century grinds buckwheat. Its owner has no plan to sell it.",
    "Varn's bridge goes back to Odile Perrin, a mason, who finished it in 1764 after two years of work.",
)
_BLOB = "iVBORw0KGgoAAAANSUhEUgAA" + "Q29tcHJlc3Npb25Jc0Z1bkFuZFRoaXNJc05vUGljdHVyZQ" * 6

CASES: Mapping[str, Case] = {
    "prose": Case((_PROSE,), "Why did the engine of the ferry fail?"),
    "table": Case((_TABLE,), "How much is the room for four with a view of the lake?"),
    "csv": Case((_CSV,), "When was Dock Road opened?"),
    "code": Case((_CODE,), "Which error makes it try again?"),
    "log": Case((_LOG,), "Who raised the pool size?"),
    "list": Case((_LIST,), "Where do oily rags go?"),
    "german": Case((_GERMAN,), "Was kostet ein Ausweis der Bücherei?"),
    "chinese": Case((_CHINESE,), "最便宜的绿茶多少钱？"),
    "markdown": Case((_MARKDOWN,), "How long are weekly backups kept?"),
    "json": Case((_JSON,), "What was the temperature at 08:00?"),
    "mail": Case((_MAIL,), "What is wrong with the blue glaze?"),
    "repetition": Case(_BRIDGE, "Who built the bridge of Varn?"),
    "order": Case(
        (*_BRIDGE, "", _MAIL),
        "Which vehicles may not cross?",
        {
            "order": "relevance",
            "top_n": 3,
            "separator": "\n---\n",
            "gains": {"redundancy": "greedy", "budgets": "gain"},
        },
    ),
    "protected": Case(
        (_MARKDOWN, _PROSE),
        "When do backups run?",
        {"protect": ["numbers", "negations"], "gains": {"temperature": 2.0, "whole_from": 1.0}},
        asked={"rate 0.25": {"rate": 0.25}, "6 tokens": {"budget_tokens": 6}},
    ),
    "blob": Case(
        (f"Picture of the harbour:\n{_BLOB}\nTaken by Lena.",),
        "Who took the picture?",
        asked={"60 tokens": {"budget_tokens": 60}},
    ),
}
