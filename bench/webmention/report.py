"""The results as the section of docs/benchmarks.md that stands between the two markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bench.measure import markdown, median, number
from bench.webmention import hostile
from bench.webmention.contestants import EVERYONE, TITLES
from bench.webmention.posting import PATIENCE
from bench.webmention.results import Run
from bench.webmention.sending import Sent
from bench.webmention.targets import judge, ratios

__all__ = ["CLOSE", "OPEN", "render"]

OPEN = "<!-- webmention -->"
CLOSE = "<!-- /webmention -->"
NO_ENDPOINT = dict.fromkeys(("indieweb-utils", "ronkyuu"), "it has no endpoint: whoever uses it writes one")


def render(run: Run) -> str:
    """The whole section."""
    about = "\n".join(f"- **{each.title}**: {each.about}" for each in EVERYONE)
    parts = [_preface(run), _targets(run), _sending(run), _many(run), _hostile(run), _posting(run)]
    return "\n\n".join([*parts, "### Who is who\n\n" + about]) + "\n"


def _preface(run: Run) -> str:
    lines = [
        "## webmention, side by side",
        f"`{run.command}` ({number(run.minutes)} minutes; load average before: {run.load})",
        f"{run.machine}. {run.versions}.",
        f"{run.hosts} hosts are as many addresses of loopback, served by one process on core 1, each answer "
        f"{run.delay * 1e3:g} ms late: a page of 4 KB that names its endpoint in its head, then 202 to a POST. "
        "Whoever is measured has core 0, and a process of its own for each figure, "
        "warmed by eight targets that do not count. "
        f"{run.rounds} round{'s' * (run.rounds > 1)}, and in each, for each table, every row in turn. "
        "Figures are medians of the rounds, min–max is the spread of the first column; "
        "every target was told, as the web counts it. "
        "*Holdfast is* gives the median of the ratios of each round. CPU is that of the process, all threads.",
    ]
    if run.failed:
        lines.append("\n".join(f"- **{who}** did not run: {why}" for who, why in run.failed.items()))
    return "\n\n".join(lines)


def _targets(run: Run) -> str:
    words = {True: "met", False: "**short**", None: "–"}
    verdicts = list(judge(run))
    judged = [verdict for verdict in verdicts if verdict.met is not None]
    rows = [[v.what, v.wanted, v.measured, words[v.met]] for v in verdicts]
    met = sum(bool(verdict.met) for verdict in judged)
    head = f"### Targets\n\n{met} of {len(judged)} met. In brackets the lowest and the highest of the rounds.\n\n"
    return head + markdown(("what", "wanted", "measured", ""), rows, left=2)


def _sending(run: Run) -> str:
    head = ("sender", "seconds", "min–max", "CPU ms a target", "MB of growth", "Holdfast is")
    rows = list(_senders(run, run.targets))
    return f"### {run.targets} targets on {run.hosts} hosts\n\n" + markdown(head, rows)


def _senders(run: Run, targets: int) -> Iterator[list[str]]:
    known = run.sent.get(targets, {})
    for name in sorted(known, key=lambda name: median(each.seconds for each in known[name].values())):
        yield _sender(run, targets, name, list(known[name].values()))


def _sender(run: Run, targets: int, name: str, samples: list[Sent]) -> list[str]:
    seconds = [each.seconds for each in samples]
    times = ratios(run, targets, name, "holdfast") if name != "holdfast" else []
    return [
        f"**{TITLES[name]}**" if name == "holdfast" else TITLES[name],
        number(median(seconds)),
        f"{number(min(seconds))}–{number(max(seconds))}" if len(seconds) > 1 else "",
        number(median(each.cpu_ms for each in samples)),
        number(median(each.growth_mb for each in samples)),
        f"{number(median(times))} ×" if times else "",
    ]


def _many(run: Run) -> str:
    head = ("sender", "seconds", "min–max", "CPU ms a target", "MB of growth", "Holdfast is")
    rows = list(_senders(run, run.many))
    lacking = [
        [each.title, "–", "", "", "", ""]
        for each in EVERYONE
        if not each.many and "threads" not in each.title
    ]
    why = "\n".join(f"- **{each.title}** –: {each.why}" for each in EVERYONE if not each.many and each.why)
    growth = (
        "Growth is that of the resident set from before the call to its highest. What Holdfast returns lists every "
        "mention, and in `memory://` every mention is kept besides; "
        "pages, connections and tasks are what must not add up."
    )
    return f"### {run.many:,} targets on {run.hosts} hosts\n\n{growth}\n\n{markdown(head, [*rows, *lacking])}\n\n{why}"


def _hostile(run: Run) -> str:
    head = ("library", "page", *hostile.LOOKS)
    names = {"verify": "does it link", "parse": "what does it say", "discover": "its endpoint"}
    rows = [[who, shape, *map(_looked, looks)] for who, shape, looks in _hostile_rows(run)]
    why = "\n".join(
        f"- **{who}** {names[look]} –: {reason}" for (who, look), reason in hostile.LACKING.items()
    )
    text = (
        "Seconds of CPU for one look through a megabyte that nests, each in a process of its own that is ended after "
        f"{run.limit:g} s: does it link to the target (`verify`), what does it say (`parse`), which endpoint does it "
        f"name (`discover`). Of all {run.shapes} pages that the tests have, Holdfast's slowest stands in the first row."
    )
    return f"### A megabyte of nested elements\n\n{text}\n\n{markdown(head, rows, left=2)}\n\n{why}"


def _hostile_rows(run: Run) -> Iterator[tuple[str, str, list[float | str]]]:
    worst: list[float | str] = []
    for look in hostile.LOOKS:
        turns = run.worst.get(look, [])
        worst.append(median(max(turn.values()) for turn in turns) if turns else "–")
    yield "**Holdfast**", "the slowest of all", worst
    for shape in hostile.SHAPES:
        for who in hostile.ROWS:
            if (who, shape) in run.looked:
                looks: Mapping[str, float | str] = run.looked[who, shape]
                yield who if who != "holdfast" else "Holdfast", shape, [looks[look] for look in hostile.LOOKS]


def _looked(value: float | str) -> str:
    return value if isinstance(value, str) else number(value)


def _posting(run: Run) -> str:
    head = (
        "receiver",
        "queued, ms",
        "min–max",
        "p99 ms",
        "nothing queued, ms",
        "of the hanging, answered at once",
    )
    rows = []
    for name, turns in run.posted.items():
        busy = [each.busy_ms for each in turns]
        rows.append(
            [
                f"**{TITLES[name]}**" if name == "holdfast" else TITLES[name],
                _waited(median(busy)),
                f"{_waited(min(busy))}–{_waited(max(busy))}" if len(busy) > 1 else "",
                _waited(median(each.p99_ms for each in turns)),
                number(median(each.calm_ms for each in turns)),
                number(median(each.queued for each in turns)),
            ]
        )
    rows += [[name, "–", "", "", "", ""] for name in NO_ENDPOINT]
    text = (
        f"Each receiver under uvicorn (uvloop) on core 0. Mentions from {run.queued:,} sources that never answer are "
        f"posted, then {run.posts} others, one after the other, each on a connection of its own: how long until "
        f"the answer. One that did not come within {PATIENCE:g} s counts as that. *webmentions* verifies before it "
        "answers (its FastAPI "
        "adapter, in the framework's 40 threads), so that a POST takes as long as its source."
    )
    why = "\n".join(f"- **{name}** –: {reason}" for name, reason in NO_ENDPOINT.items())
    return f"### Answers to POST with {run.queued:,} hanging sources\n\n{text}\n\n{markdown(head, rows)}\n\n{why}"


def _waited(milliseconds: float) -> str:
    return f"> {PATIENCE * 1e3:,.0f}" if milliseconds >= PATIENCE * 1e3 else number(milliseconds)
