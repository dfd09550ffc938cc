"""A rehearsal: endpoints are looked for, and nobody is told."""

import pytest
from tests.unit.webmention.site_lab import Lab

from holdfast.errors import AddressRefused
from holdfast.webmention import Rehearsal, Webmention

SITE = "https://alice.example"
POST = f"{SITE}/post"


async def test_pages_are_read_and_what_would_have_been_told_is_written_down() -> None:
    async with Lab() as lab:
        bob = await lab.site("bob.example")
        target = bob.page("/post", '<a rel="webmention" href="/take">')
        silent = bob.page("/silent", "nothing here")
        async with Rehearsal(lab.policy) as web, Webmention(site=SITE, web=web) as mentions:
            report = await mentions.send(POST, f'<a href="{target}">a</a> <a href="{silent}">b</a>')
            told, unheard = sorted(report.mentions, key=lambda each: each.target_url)
        assert [(each.endpoint, each.source, each.target) for each in web.told] == [
            (bob.url("/take"), POST, target)
        ]
        assert bob.mentions == []
        assert (told.status, told.endpoint, told.next_attempt) == ("failed", bob.url("/take"), None)
        assert Rehearsal.failed(told)
        assert (unheard.status, Rehearsal.failed(unheard)) == ("not_found", False)


async def test_what_was_rehearsed_is_delivered_by_a_retry_on_the_real_web(tmp_path: object) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    async with Lab() as lab:
        bob = await lab.site("bob.example")
        target = bob.page("/post", '<a rel="webmention" href="/take">')
        bob.page("/take", "thanks", status=202)
        async with Rehearsal(lab.policy) as web, Webmention(store, site=SITE, web=web) as mentions:
            await mentions.send(POST, f'<a href="{target}">a</a>')
            await mentions.delete(POST)  # nobody is told of that either
        assert bob.mentions == []
        async with Webmention(store, site=SITE, policy=lab.policy) as mentions:
            (again,) = (await mentions.retry(POST)).mentions
        assert again.status == "sent"
        assert bob.mentions == [("/take", POST, target)]


async def test_an_endpoint_that_the_guard_refuses_is_refused_in_a_rehearsal_too() -> None:
    async with Rehearsal() as web:
        with pytest.raises(AddressRefused):
            await web.post("http://169.254.169.254/", {"source": POST, "target": SITE})
    assert not web.told
