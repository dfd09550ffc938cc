"""The work of `import` and `export`, over memory, without a process."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.channels import AnyTopic, Channels
from holdfast.cli import lines
from holdfast.cli.dumping import Dumping
from holdfast.cli.loading import Counts, Loading
from holdfast.cli.output import Output
from holdfast.cli.progress import Bar
from holdfast.cli.sink import Sink
from holdfast.cli.source import TooLong
from holdfast.errors import StoreUnavailable
from holdfast.persist import Persist

NOW = 1_763_664_000_000


class Notes(Output):
    """Keeps what would be written."""

    def __init__(self):
        super().__init__(as_json=False)
        self.notes, self.written = [], b""
        self.write_note = self.notes.append

    def data(self, text):
        self.written += text if isinstance(text, bytes) else text.encode()


class FailingRooms:
    """Rooms whose store goes down at the nth part of an import."""

    def __init__(self, channels, at):
        self.channels, self.left = channels, at

    async def restore(self, topic, messages, *, replace):
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("restore: gone")
        return await self.channels.restore(topic, messages, replace=replace)


class Failing:
    """A store that goes down at the nth write."""

    def __init__(self, persist, at):
        self.persist, self.left = persist, at

    async def set(self, key, value, *, expires):
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("set: gone")
        await self.persist.set(key, value, expires=expires)


@pytest.fixture
async def rooms():
    async with Channels("memory://", [AnyTopic]) as opened:
        yield opened


@pytest.fixture
async def persist():
    async with Persist("memory://") as opened:
        yield opened


def rows(*pairs, head=True, expires_at=None):
    found = [lines.head("t", NOW)[:-1]] if head else []
    found += [lines.row(key, value, expires_at)[:-1] for key, value in pairs]
    return [*found, lines.end(len(pairs))[:-1]] if head else found


def said(topic, n, **more):
    return lines.message(lines.Said(topic, "said", {"n": n}, NOW + n, **more))[:-1]


async def load(persist, text, *, from_line=1, existing="overwrite", channels=None):
    """Import these lines; the job, what was noted, and what stopped it."""

    async def parts():
        numbered = list(enumerate(text, 1))
        for start in range(0, len(numbered), 700):  # more than a batch, and no multiple of one
            yield numbered[start : start + 700]

    out, failure = Notes(), None

    async def opened():
        return channels

    job = Loading(out, existing=existing, from_line=from_line, channels=opened, now=NOW)
    with Bar(out, "import", total=None) as bar:
        try:
            await job.read(persist, parts(), bar, [0])
        except StoreUnavailable as exc:
            failure = exc
    return job, out.notes, failure


async def test_rows_are_stored_with_the_time_they_have_left(persist):
    text = [*rows(("a", b"1")), *rows(("b", b"[2]"), expires_at=NOW + 5_000, head=False)]
    job, notes, _ = await load(persist, text)
    assert (await persist.entry("a")).ttl is None
    assert 4.5 < (await persist.entry("b")).ttl <= 5
    assert job.counts.words() == "2 stored"
    assert notes == []


async def test_a_row_whose_time_is_over_is_counted_and_changes_nothing(persist):
    await persist.set("a", "newer")
    job, _, _ = await load(persist, rows(("a", b'"older"'), expires_at=NOW))
    assert job.counts.words() == "0 stored, 1 expired"
    assert await persist.get("a") == "newer"


async def test_a_broken_line_is_named_and_the_rest_goes_on(persist):
    text = rows(("a", b"1"), ("b", b"2"), ("c", b"3"))
    text[2] = b"nonsense"
    text.insert(3, TooLong())
    job, notes, _ = await load(persist, text)
    assert len(notes) == 2
    assert notes[0].startswith("holdfast: import: line 3: not JSON")
    assert notes[1].startswith("holdfast: import: line 4: longer than any value may be")
    assert (job.counts.stored, job.counts.broken) == (2, 2)
    assert await persist.get("c") == 3


@pytest.mark.parametrize("key", ["", "x" * 513, "nul\0"])
async def test_a_key_that_the_store_refuses_is_a_broken_line(persist, key):
    job, notes, _ = await load(persist, rows((key, b"1"), ("good", b"2")))
    assert "import: line 2: set" in notes[0]
    assert (job.counts.stored, job.counts.broken) == (1, 1)


async def test_a_value_over_the_limit_is_a_broken_line_and_not_quoted():
    async with Persist("memory://", max_bytes=10) as persist:
        _, notes, _ = await load(persist, rows(("k", b'"secretsecret"'), ("good", b"2")))
        assert "max_bytes=10" in notes[0]
        assert "secret" not in notes[0]
        assert await persist.get("good") == 2


async def test_keep_leaves_live_values_and_counts_them(persist):
    await persist.set("a", "mine")
    job, _, _ = await load(persist, rows(("a", b"1"), ("b", b"2")), existing="keep")
    assert job.counts.words() == "1 stored, 1 kept as they were"
    assert await persist.get("a") == "mine"


async def test_of_one_key_twice_the_later_line_stays(persist):
    await load(persist, rows(("a", b"1"), ("b", b"0"), ("a", b"2")))
    assert await persist.get("a") == 2


async def test_doing_it_again_changes_nothing(persist):
    text = rows(("a", b"1"), ("b", b"2"))
    for _ in range(2):
        job, _, _ = await load(persist, text)
        assert job.counts.stored == 2
    assert {key: await persist.get(key) async for key in persist.keys("")} == {"a": 1, "b": 2}


async def test_an_export_without_its_last_line_was_cut_short(persist):
    job, notes, _ = await load(persist, rows(("a", b"1"))[:-1])
    assert job.cut_short
    assert "the last line of the export is missing" in notes[0]
    assert await persist.get("a") == 1


async def test_rows_made_by_hand_need_no_first_and_last_line(persist):
    job, notes, _ = await load(persist, [*rows(("a", b"1"), head=False), b"", b" "])
    assert not job.cut_short
    assert notes == []
    assert job.counts.stored == 1


async def test_a_newer_format_stops_before_anything_is_stored(persist):
    with pytest.raises(lines.TooNew):
        await load(persist, [b'{"holdfast":"export","format":9}', *rows(("a", b"1"), head=False)])
    assert await persist.get("a") is None


@pytest.mark.parametrize("at", [0, 1, 700, 1_499])
async def test_an_import_that_stopped_goes_on_where_it_says_and_loses_nothing(persist, at):
    text = rows(*((f"k{number}", b"%d" % number) for number in range(1_500)))
    text[10] = b"broken"
    job, _, failure = await load(Failing(persist, at), text)
    assert (failure is None) == (at >= 1_499)
    again, _, failure = await load(persist, text, from_line=job.line)
    assert failure is None
    assert again.cut_short is False
    found = {key async for key in persist.keys("")}
    assert found == {f"k{number}" for number in range(1_500) if number != 9}


async def test_going_on_does_not_do_again_what_is_certainly_done(persist):
    text = rows(*((f"k{number}", b"1") for number in range(2_000)))
    job, _, _ = await load(Failing(persist, 1_200), text)
    assert job.line == 1_202
    again, _, _ = await load(persist, text, from_line=job.line)
    assert again.counts.stored == 2_000 - (job.line - 2)


async def test_going_on_still_looks_at_the_format_on_the_first_line(persist):
    with pytest.raises(lines.TooNew):
        await load(
            persist, [b'{"holdfast":"export","format":9}', *rows(("a", b"1"), head=False)], from_line=2
        )


async def numbers(rooms, topic):
    return [each.payload["n"] for each in await rooms.read(topic, limit=5_000)]


async def test_messages_are_stored_in_the_order_of_their_lines_topic_by_topic(persist, rooms):
    text = [
        said("ab"[n % 2], n, id=f"x{n}" if n % 3 else None, position=f"{n + 1}~old") for n in range(1_500)
    ]
    job, notes, _ = await load(persist, text, channels=rooms)
    assert (job.counts.stored, notes) == (1_500, [])
    assert await numbers(rooms, "a") == list(range(0, 1_500, 2))
    assert await numbers(rooms, "b") == list(range(1, 1_500, 2))
    assert (await rooms.message("a", "x2")).at == (NOW + 2) / 1000


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_messages_too_go_on_where_an_import_stopped(persist, rooms, at):
    text = [said("a", n, id=f"x{n}") for n in range(1_500)]
    job, _, failure = await load(persist, text, channels=FailingRooms(rooms, at))
    assert isinstance(failure, StoreUnavailable)
    assert job.line <= len(await numbers(rooms, "a")) + 1
    await load(persist, text, from_line=job.line, channels=rooms)
    assert await numbers(rooms, "a") == list(range(1_500))


@pytest.mark.parametrize(
    "line",
    [
        b'{"topic":"t","event":"said","payload":[],"at":1}',
        b'{"topic":"t","event":"said","payload":{}}',
        b'{"topic":"t","event":"said","payload":{},"at":-1}',
        b'{"event":"said","payload":{},"at":1,"topic":1}',
        b'{"topic":"","event":"said","payload":{},"at":1}',
        b'{"topic":"t","event":"phx_x","payload":{},"at":1}',
        b'{"topic":"t","event":"said","payload":{},"at":1,"id":"no id"}',
    ],
)
async def test_a_line_that_is_no_message_is_named_and_the_rest_goes_on(persist, rooms, line):
    job, notes, failure = await load(persist, [line, said("t", 2)], channels=rooms)
    assert failure is None
    assert notes[0].startswith("holdfast: import: line 1: ")
    assert (job.counts.stored, job.counts.broken) == (1, 1)
    assert await numbers(rooms, "t") == [2]


async def test_keep_leaves_messages_that_are_there(persist, rooms):
    await rooms.publish("t", "said", {"n": "mine"}, id="x")
    text = [said("t", 1, id="x"), said("t", 2, id="y")]
    job, _, _ = await load(persist, text, existing="keep", channels=rooms)
    assert job.counts.words() == "1 stored, 1 kept as they were"
    assert await numbers(rooms, "t") == ["mine", 2]
    await load(persist, text, channels=rooms)
    assert await numbers(rooms, "t") == [1, 2]


async def test_an_export_of_many_messages_holds_each_once_in_order(persist, rooms):
    for n in range(450):
        await rooms.publish("t", "said", {"n": n}, id=f"x{n}" if n % 2 else None)
    await rooms.edit("t", "x1", {"n": -1})
    await rooms.remove("t", "x3")
    job, out = await dump(persist, channels=rooms)
    assert (job.rows, job.messages) == (449, 449)
    async with Channels("memory://", [AnyTopic]) as other:
        _, notes, _ = await load(persist, out.written.split(b"\n"), channels=other)
        assert notes == []
        assert await numbers(other, "t") == await numbers(rooms, "t")
        assert [each.edited for each in await other.read("t")] == [n == 1 for n in range(200)]


async def dump(persist, prefix="", channels=None):
    out = Notes()
    job = Dumping(persist, channels, out)
    with Bar(out, "export", total=None) as bar, Sink(out, None) as sink:
        await job.write("t", prefix, sink, bar)
    return job, out


async def test_an_export_imports_to_the_same_store(persist):
    await persist.set("plain", {"a": [1, None, "x"]})
    await persist.set("ending", "soon", expires=60)
    await persist.set("line\nbreak", 1)
    await persist.set("pretty", msgspec.Raw(b'{\n  "a": 1\r\n}'))
    _, out = await dump(persist)
    async with Persist("memory://") as other:
        job, notes, _ = await load(other, out.written.split(b"\n"), existing="keep")
        assert notes == []
        assert job.counts.stored == 4
        async for key in persist.keys(""):
            assert await other.get(key) == await persist.get(key)
        assert (await other.entry("ending")).ttl is not None
        assert (await other.entry("plain")).ttl is None


async def test_an_export_of_a_prefix_holds_nothing_else(persist):
    for key in ("user:1", "user:2", "other"):
        await persist.set(key, 1)
    job, out = await dump(persist, "user:")
    assert job.rows == 2
    assert b"other" not in out.written
    assert out.written.endswith(b'{"holdfast":"end","rows":2}\n')


async def test_an_export_of_many_pages_holds_every_key_once(tmp_path):
    async with Persist(f"sqlite:///{tmp_path}/app.db?synchronous=normal") as persist:
        await persist.set_many({f"k{number:04}": number for number in range(1_234)})
        job, out = await dump(persist)
    keys = [msgspec.json.decode(line)["key"] for line in out.written.splitlines()[1:-1]]
    assert sorted(keys) == [f"k{number:04}" for number in range(1_234)]
    assert job.rows == 1_234


@pytest.mark.parametrize("stored", [b"not json", b'"\xff"'])
async def test_a_value_that_is_not_json_is_left_out_and_named(persist, stored):
    for number in range(40):
        await persist.set(f"k{number}", number)
    await persist.set("broken", msgspec.Raw(stored))
    job, out = await dump(persist)
    assert (job.rows, job.broken) == (40, 1)
    assert len(out.notes) == 1
    assert "export 'broken': what is stored is not JSON" in out.notes[0]


async def test_large_values_are_read_few_at_a_time_and_small_ones_many(persist):
    for number in range(64):
        await persist.set(f"small{number:03}", 1)
        await persist.set(f"wide{number:03}", "x" * 500_000)
    asked = []
    entries = persist.entries
    persist.entries = lambda keys, kind: asked.append(len(keys)) or entries(keys, kind)
    await dump(persist, "small")
    assert max(asked) > 16
    asked.clear()
    await dump(persist, "wide")
    assert asked[0] == 16
    assert max(asked[1:]) <= 8


def test_counts_are_words():
    assert Counts(stored=12_345, kept=1, expired=2, broken=3).words() == (
        "12,345 stored, 1 kept as they were, 2 expired, 3 broken"
    )
