"""The arithmetic, the judging and the writing of the channels bench; no server, no generator."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))  # the bench is no part of the package

from bench.channels.contestants import EVERYONE, FRAMEWORKS, Place
from bench.channels.pace import LOWEST, STEP, STEPS, highest
from bench.channels.report import CLOSE, OPEN, Run, render
from bench.channels.running import on_core
from bench.channels.scenarios import SCENARIOS, Report, Sample, Spread, decode
from bench.channels.targets import BY_NAME, Results, between, judge
from bench.probes import Disk
from bench.report import insert

CALM, NOISY = Disk(100, 400), Disk(100, 600)


def talk(rate: float, *, p99: float = 1.0, disk: tuple[Disk, ...] = ()) -> Sample:
    """So many messages and deliveries a second."""
    return Sample(
        Report(1, 1, 0, completed=rate, deliveries=rate, latency_ms=Spread(1, p99, p99, p99)), disk=disk
    )


def joined(seconds: float) -> Sample:
    return Sample(Report(1, 1, 0, join_s=seconds))


def met(results: Results, server: str, wanted: str) -> bool | None:
    """The one verdict about this server whose demand begins so."""
    titles = {contestant.name: contestant.title for contestant in EVERYONE}
    found = [
        v for v in judge(results) if v.what.split(": ")[1].startswith(titles[server]) and wanted in v.wanted
    ]
    assert len(found) == 1, found
    return found[0].met


@pytest.mark.parametrize("limit", [0, 1, 4.9, 5, 5.1, 60, 333, 1e4, LOWEST * STEP**STEPS, 1e9])
@pytest.mark.parametrize("start", [1, 5, 60, 1e4, 1e9])
def test_the_highest_pace_is_found_from_wherever_the_search_begins(limit: float, start: float) -> None:
    tried: list[float] = []

    def holds(pace: float) -> bool:
        tried.append(pace)
        return pace <= limit

    found = highest(holds, start)
    steps = [LOWEST * STEP**k for k in range(STEPS + 1)]
    assert found == max((pace for pace in steps if pace <= limit), default=None)
    assert len(tried) == len(set(tried)) <= 14


def test_a_search_that_begins_where_it_ends_asks_twice() -> None:
    tried: list[float] = []

    def holds(pace: float) -> bool:
        tried.append(pace)
        return pace <= LOWEST * STEP**20

    assert highest(holds, LOWEST * STEP**20) == pytest.approx(LOWEST * STEP**20)
    assert len(tried) == 2


def test_the_generators_line_is_read_and_what_is_new_in_it_is_passed_over() -> None:
    line = b'{"connections":3,"ready":2,"dead":1,"lost":4,"busy":[0.5,0.25],"latency_ms":{"n":9,"p99":1.5},"new":1}'
    report = decode(line)
    assert (report.ready, report.lost, report.busy, report.latency_ms.p99) == (2, 4, (0.5, 0.25), 1.5)


def test_a_line_without_its_counts_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(b'{"connections":3}')


def test_a_ratio_has_the_rounds_in_which_both_took_part() -> None:
    results: Results = {
        ("fan", "holdfast"): {0: talk(10), 1: talk(20)},
        ("fan", "starlette"): {1: talk(5), 2: talk(1)},
    }
    assert between(results, BY_NAME["fan"], "holdfast", "starlette") == [4]


def test_who_holds_no_pace_at_all_is_infinitely_far_behind() -> None:
    results: Results = {
        ("paced", "holdfast"): {0: Sample(Report(1, 1, 0), pace=300)},
        ("paced", "django"): {0: Sample(Report(1, 1, 0), pace=0)},
    }
    assert met(results, "holdfast", "ahead of Django") is True
    assert "∞" in next(v.measured for v in judge(results) if "Django" in v.wanted)


@pytest.mark.parametrize(("rate", "enough"), [(80, True), (79, False)])
def test_more_is_better_is_met_at_its_bound_and_not_below(rate: float, enough: bool) -> None:
    results: Results = {("fan", "holdfast"): {0: talk(rate)}, ("fan", "floor"): {0: talk(100)}}
    assert met(results, "holdfast", "C floor") is enough


@pytest.mark.parametrize(("seconds", "enough"), [(0.6, True), (0.61, False)])
def test_less_is_better_is_met_at_its_bound_and_not_above(seconds: float, enough: bool) -> None:
    results: Results = {("joins", "holdfast"): {0: joined(seconds)}, ("joins", "starlette"): {0: joined(1)}}
    assert met(results, "holdfast", "≤ 0.6 × uvicorn") is enough


@pytest.mark.parametrize(
    ("saved", "unsaved", "enough"), [(40_000, 200_000, True), (30_000, 50_000, True), (30_000, 60_000, False)]
)
def test_saving_on_postgres_is_fast_enough_by_its_rate_or_by_its_share(
    saved: float, unsaved: float, enough: bool
) -> None:
    results: Results = {
        ("rooms", "holdfast"): {0: talk(unsaved)},
        ("saved", "holdfast-postgres"): {0: talk(saved)},
    }
    assert met(results, "holdfast-postgres", "≥ 40,000") is enough


def test_saving_on_sqlite_has_no_share_to_fall_back_upon() -> None:
    results: Results = {("rooms", "holdfast"): {0: talk(1)}, ("saved", "holdfast-sqlite"): {0: talk(14_999)}}
    assert met(results, "holdfast-sqlite", "≥ 15,000") is False


def test_only_rounds_with_a_calm_disk_judge_the_p99_of_saving() -> None:
    rounds = {0: talk(1, p99=99, disk=(CALM, NOISY)), 1: talk(1, p99=15, disk=(CALM, CALM))}
    results: Results = {("saved-paced", "holdfast-sqlite"): rounds}
    verdict = next(v for v in judge(results) if "SQLite" in v.what)
    assert verdict.met is True
    assert "1 of 2 rounds calm" in verdict.what
    noisy: Results = {("saved-paced", "holdfast-sqlite"): {0: rounds[0]}}
    assert next(v for v in judge(noisy) if "SQLite" in v.what).met is None


def test_idle_connections_are_judged_each_and_together() -> None:
    report = Report(5000, 5000, 0, before_kb=50_000, end_kb=90_000)
    results: Results = {("idle", "holdfast"): {0: Sample(report)}}
    assert met(results, "holdfast", "≤ 8 KB") is True
    assert met(results, "holdfast", "≤ 90 MB") is True
    more: Results = {("idle", "holdfast"): {0: Sample(msgspec.structs.replace(report, end_kb=93_000))}}
    assert met(more, "holdfast", "≤ 8 KB") is False
    assert met(more, "holdfast", "≤ 90 MB") is False


def test_memory_that_grew_and_went_again_counts_where_readers_stall() -> None:
    report = Report(200, 200, 20, joined_kb=40_000, end_kb=40_000, peak_kb=40_000 + 31 * 1024)
    results: Results = {("stalled", "holdfast"): {0: Sample(report)}}
    assert met(results, "holdfast", "growth") is False


def test_messages_that_never_arrive_are_not_fast() -> None:
    dropping = Sample(Report(1, 1, 0, sent=100, lost=2))
    results: Results = {("stalled", "holdfast"): {0: talk(1, p99=5)}, ("stalled", "litestar"): {0: dropping}}
    assert met(results, "holdfast", "ahead of Litestar") is True
    lost: Results = {("stalled", "holdfast"): {0: dropping}, ("stalled", "litestar"): {0: dropping}}
    assert met(lost, "holdfast", "p99 ≤ 5 ms") is False


def test_what_did_not_run_is_not_judged() -> None:
    assert judge({}) == []
    results: Results = {("fan", "starlette"): {0: talk(1)}}
    assert {verdict.met for verdict in judge(results)} == {None}


def test_every_scenario_names_servers_that_there_are_and_judges_ours() -> None:
    names = {contestant.name for contestant in EVERYONE}
    assert set(FRAMEWORKS) <= names
    for scenario in SCENARIOS:
        assert set(scenario.who) <= names
        results: Results = {(scenario.name, "holdfast"): {0: talk(1)}}
        assert judge(results), scenario.name


def test_every_server_of_ours_takes_part_in_every_round_and_names_a_store() -> None:
    ours = [contestant for contestant in EVERYONE if contestant.ours]
    assert len(ours) == 4
    assert all(contestant.always and contestant.store for contestant in ours)


def test_the_servers_under_uvicorn_share_its_implementation_and_ours_has_its_own() -> None:
    place = Place(Path("/tmp"), Path("/tmp/floor"), ws="wsproto")
    words = {contestant.name: contestant.command(place, 80) for contestant in EVERYONE}
    for name in ("starlette", "litestar", "socketio", "django", "holdfast-asgi"):
        assert words[name][words[name].index("--ws") + 1] == "wsproto"
    assert words["holdfast"][words["holdfast"].index("--ws") + 1].startswith("holdfast.")


def run(results: Results) -> Run:
    names = {scenario for scenario, _ in results}
    return Run(
        "cmd",
        "2 cores",
        "CPython",
        rounds=2,
        seconds=1,
        scenarios=tuple(s for s in SCENARIOS if s.name in names),
        contestants=EVERYONE,
        results=results,
    )


def test_the_report_puts_the_best_first_and_says_what_was_short() -> None:
    fan: Results = {
        ("fan", "holdfast"): {0: talk(50), 1: talk(70)},
        ("fan", "floor"): {0: talk(100), 1: talk(100)},
        ("fan", "starlette"): {0: talk(20), 1: talk(20)},
    }
    text = render(run(fan))
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    servers = [line.split("|")[1].strip() for line in lines if "/s" not in line][-3:]
    assert servers == ["C floor", "**holdfast**", "uvicorn + Starlette"]
    assert "50.0–70.0" in text
    assert "3.00 ×" in text
    assert "**short**" in text
    joins: Results = {("joins", "holdfast"): {0: joined(2)}, ("joins", "starlette"): {0: joined(1)}}
    lines = [line for line in render(run(joins)).splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in lines][-2:] == ["uvicorn + Starlette", "**holdfast**"]


def test_the_report_names_who_did_not_run_and_how_the_disk_was() -> None:
    found = run({("saved", "holdfast-sqlite"): {0: talk(1, disk=(CALM, NOISY))}})
    found.missing["saved"] = {"holdfast-postgres": "the server ended"}
    text = render(found)
    assert "**holdfast, Postgres** did not run: the server ended" in text
    assert "0.40 → 0.60 (not calm)" in text


def test_the_section_leaves_that_of_persist_alone(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    insert(path, "persist's")
    insert(path, "channels'", markers=(OPEN, CLOSE))
    insert(path, "channels' again", markers=(OPEN, CLOSE))
    text = path.read_text()
    assert "persist's" in text
    assert text.endswith(f"{OPEN}\n\nchannels' again\n{CLOSE}\n")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_a_core_that_is_not_there_leaves_everything_as_it_is() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(OSError, match="gone"), on_core(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
        raise OSError("gone")
    with on_core(4000):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before
