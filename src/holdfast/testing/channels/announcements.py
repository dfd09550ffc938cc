"""What one process hears of what another does."""

from __future__ import annotations

import asyncio

from holdfast.channels.driver import Append, Clear, Edit, Entry, Erase, Send
from holdfast.errors import Closed
from holdfast.testing.channels.ear import Heard
from holdfast.testing.channels.running import SuiteCore, case, meanwhile, tidy
from holdfast.testing.channels.subject import Following, Subject, body, offsets, text

__all__ = ["AnnouncementCases"]

LOOKALIKES = ("room*", "room?", "room[1]", "ROOM", "room ", "roo", "room:1", "rôom")


class AnnouncementCases(SuiteCore):
    """`subscribe`. In every case `s` listens and `other` is another process that writes."""

    # --- what is heard ---

    @case
    async def test_what_another_process_keeps_is_announced(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("room") as following:
            said = await other.say("room", "one", id="x")
            await following.hears("room", 1)
            await other.fill("room", 2)
            await following.hears("room", 3)
            await other.do(Edit("room", body("edited"), id="x"))
            await following.hears("room", 4)
            await other.do(Erase("room", offset=2, epoch=said.epoch))
            await following.hears("room", 5)
            truthful(s, following, "room", said.epoch, 5)
            told = {heard.last: heard.entry for heard in following.ear.heard if heard.entry is not None}
            for last, wanted in (
                (1, (1, '{"message":"one"}')),
                (4, (1, '{"message":"edited"}')),
                (5, (2, None)),
            ):
                if last in told:
                    assert (told[last].offset, text(told[last].payload)) == wanted
            assert (await s.log("room")).last == 5

    @case
    async def test_what_is_announced_can_be_read(self, s: Subject) -> None:
        async with (
            self.another(s) as other,
            s.listening("room") as following,
            meanwhile(talk(other, "room", 10)) as talking,
        ):
            ear, told = following.ear, 0
            while following.reach("room") < 10:
                await ear.more(s.patience)
                assert len(ear.heard) > told or ear.losses, "nothing more is heard"
                told, reach = len(ear.heard), following.reach("room")
                log = await s.log("room")
                assert log.last >= reach, f"{reach} was announced before it was kept"
                assert offsets(log) == list(range(1, log.last + 1))
            await talking

    @case
    async def test_a_listener_that_reads_what_it_lacks_gets_everything_once_and_in_order(
        self, s: Subject
    ) -> None:
        async with self.another(s) as one, self.another(s) as two, s.listening("room") as following:
            await s.say("room", "before")
            got: list[Entry] = []
            async with meanwhile(*(talk(each, "room", 40) for each in (one, two))) as writers:
                await hub(s, following, got, 81)
                await writers
            assert [entry.offset for entry in got] == list(range(1, 82))
            assert [text(entry.payload) for entry in got] == [
                entry.payload for entry in (await s.log("room")).entries
            ]

    @case
    async def test_from_the_moment_that_a_topic_is_followed_all_of_it_is_heard(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening() as following:
            rooms = [f"r{number}" for number in range(60)]
            for room in rooms[:20]:
                await following.follow(room)
                await other.say(room)
            await asyncio.gather(*(following.follow(room) for room in rooms[20:]))
            await other.batch(*(Append(room, "said", body(room)) for room in rooms[20:]))
            for room in rooms:
                await following.hears(room, 1)

    @case
    async def test_what_was_kept_before_is_not_needed_to_hear_what_comes(self, s: Subject) -> None:
        async with self.another(s) as other:
            await other.fill("room", 5)
            async with s.listening("room") as following:
                await other.say("room")
                await following.hears("room", 6)
                assert await other.do(Clear("room")) is True
                anew = await other.say("room", "anew")
                ear = following.ear
                await ear.until(
                    lambda: any(each.epoch == anew.epoch for each in ear.heard), s.patience, "the new epoch"
                )
                (heard, *_) = [each for each in ear.heard if each.epoch == anew.epoch]
                assert heard.last == 1

    @case
    async def test_a_repeated_message_is_not_announced_again(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("room", "marker") as following:
            await other.say("room", "one", id="x")
            await following.hears("room", 1)
            following.ear.forget()
            assert (await other.say("room", "again", id="x")).repeated
            assert await other.do(Edit("room", b"{}", id="nobody")) is None
            await other.say("marker")
            await following.hears("marker", 1)
            assert following.reach("room") == 0, "what was not kept was announced"

    # --- sends ---

    @case
    async def test_what_is_sent_arrives_whole_and_once_and_is_not_kept(self, s: Subject) -> None:
        large = bytes(range(256)) * 4096  # 1 MiB
        sends = (b"", b'{"typing":true}', b"\x00\xff\xfe raw", "🦑".encode(), b"x" * 9000, large)
        async with self.another(s) as other, s.listening("room") as following:
            for data in sends:
                assert await other.do(Send("room", data)) is None
            got = await following.gets("room", len(sends))
            await other.say("room")  # whatever came twice has come by then
            await following.hears("room", 1)
            got = following.sends("room")
            assert sorted(map(len, got)) == sorted(map(len, sends)), "not each once"
            assert sorted(got) == sorted(sends), "a send arrived as something else"
            assert (await s.log("room")).last == 1, "a send took an offset"

    @case
    async def test_sends_of_one_batch_reach_their_topics(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("a", "b", "c") as following:
            await other.batch(
                *(Send(room, room.encode() * size) for size in (1, 2000, 3) for room in ("a", "b", "c", "d"))
            )
            for room in ("a", "b", "c"):
                got = await following.gets(room, 3)
                assert sorted(got, key=len) == [room.encode() * size for size in (1, 3, 2000)]
            assert following.sends("d") == []
            assert await s.topics() == [], "a send began a log"

    # --- what is not heard ---

    @case
    async def test_only_what_is_followed_is_heard(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("room", *LOOKALIKES[:3]) as following:
            for key in ("room1", "roomy", "room11", *LOOKALIKES[3:]):
                await other.say(key)
                await other.do(Send(key, b"x"))
            for key in ("room", *LOOKALIKES[:3]):
                await other.say(key)
                await other.do(Send(key, key.encode()))
            for key in ("room", *LOOKALIKES[:3]):
                await following.hears(key, 1)
                assert await following.gets(key) == [key.encode()]
            wanted = {s.prefix + key for key in ("room", *LOOKALIKES[:3])}
            assert {each.key for each in following.ear.heard} == wanted
            assert {key for key, _ in following.ear.sends} == wanted

    @case
    async def test_another_namespace_is_not_heard(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("room") as following:
            for space in (s.space + "x", s.space.upper(), s.space + "/inner", "x" + s.space):
                stranger = other.elsewhere(space)
                s.spaces.append(space)
                await stranger.fill("room", 3)
                await stranger.do(Send("room", b"not for you"))
            said = await other.say("room")
            await other.do(Send("room", b"for you"))
            await following.hears("room", 1)
            assert await following.gets("room") == [b"for you"]
            truthful(s, following, "room", said.epoch, 1)
            assert [key for key, _ in following.ear.sends] == [s.prefix + "room"]

    @case
    async def test_what_is_no_longer_followed_is_no_longer_heard(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("a", "b", "a") as following:
            await other.say("a")
            await following.hears("a", 1)
            await following.unfollow("a")  # followed twice is followed once
            await following.unfollow("never")
            await other.say("a")
            await other.do(Send("a", b"x"))
            await other.say("b")
            await other.do(Send("b", b"y"))
            await following.hears("b", 1)
            await following.gets("b")
            assert following.reach("a") == 1
            assert following.sends("a") == []
            await following.unfollow("a")
            await following.follow("a")
            await other.say("a")
            await following.hears("a", 3)

    # --- several, and their end ---

    @tidy
    @case
    async def test_several_subscriptions_each_hear_their_own(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("a", "b") as one:
            async with s.listening("b", "c") as two:
                await other.batch(*(Append(room, "said", b"{}") for room in "abc"))
                for following, rooms in ((one, "ab"), (two, "bc")):
                    for room in rooms:
                        await following.hears(room, 1)
                    assert {each.key for each in following.ear.heard} == {s.prefix + room for room in rooms}
                await two.unfollow("b")
                await other.say("b")
                await one.hears("b", 2)
                await two.subscription.close()
                await two.subscription.close()
                two.ear.forget()
            await other.batch(*(Append(room, "said", b"{}") for room in "abc"))
            await one.hears("b", 3)
            assert two.ear.heard == [], "a closed subscription hears"

    @tidy
    @case
    async def test_closing_the_driver_closes_its_subscriptions(self, s: Subject) -> None:
        async with self.another(s) as other, s.listening("room") as following:
            await other.say("room")
            await following.hears("room", 1)
            await s.driver.close()
            try:
                await s.driver.subscribe(following.ear)
            except Closed:
                pass  # as it should be
            else:
                raise AssertionError("a closed driver took a subscription")
            await s.driver.open()
            async with s.listening("room") as again:
                await other.say("room")
                await again.hears("room", 2)
            assert following.reach("room") == 1, "a subscription outlived its driver's closing"
            await following.unfollow("room")

    @case
    async def test_without_another_process_nothing_is_announced(self, s: Subject) -> None:
        async with s.listening("room") as following:
            await following.follow("room")
            await s.say("room")
            await s.do(Send("room", b"x"))
            await following.unfollow("room")
            await following.unfollow("never")
            if s.driver.traits.notifies == "no":
                assert following.ear.heard == []
                assert following.ear.sends == []
                assert following.ear.losses == 0
            await following.subscription.close()


def truthful(s: Subject, following: Following, key: str, epoch: str, last: int) -> None:
    """All that was heard is of this topic and log, and goes no further than the log does."""
    for heard in following.ear.heard:
        assert heard.key == s.prefix + key, f"{heard.key!r} is not followed"
        assert heard.epoch == epoch, "the epoch of another log"
        assert 1 <= heard.last <= last, f"{heard.last} was announced, {last} is the last"
        if heard.entry is not None:
            assert isinstance(heard.entry, Entry)
            reached = max(heard.entry.offset, heard.entry.changed or 0)
            assert reached == heard.last, f"{heard.entry} came with {heard.last}"


async def talk(s: Subject, key: str, count: int) -> None:
    for number in range(count):
        await s.say(key, number)
        await asyncio.sleep(0)  # so that a driver that never waits takes turns with others


async def hub(s: Subject, following: Following, got: list[Entry], count: int) -> None:
    """What a process does with what it hears, until it has so many messages."""
    ear = following.ear
    taken = losses = 0
    while len(got) < count:
        if len(ear.heard) == taken and ear.losses == losses:
            await ear.more(s.patience)
            news = len(ear.heard) > taken or ear.losses > losses
            assert news, f"nothing more is heard after {len(got)}"
        heard, taken = ear.heard[taken:], len(ear.heard)
        lost, losses = ear.losses > losses, ear.losses
        await take(s, got, heard, lost)


async def take(s: Subject, got: list[Entry], news: list[Heard], lost: bool) -> None:
    """The message itself where it is the next one, else the log."""
    for heard in news:
        if heard.entry is not None and heard.last == len(got) + 1:
            got.append(heard.entry)
        elif heard.last > len(got):
            got += (await s.log("room", changes_after=len(got))).entries
    if lost:
        got += (await s.log("room", changes_after=len(got))).entries
