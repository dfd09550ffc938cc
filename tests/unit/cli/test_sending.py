"""`webmention send`, `retry`, `discover`, `work` over SQLite and sites on loopback."""

from __future__ import annotations

import json

import pytest
from tests.unit.cli.sites import post

from holdfast.errors import StoreUnavailable


@pytest.fixture
def alice(site):
    return site()


@pytest.fixture
def bob(site):
    found = site()
    for path in ("/1", "/2", "/3"):
        found.takes(path)
    return found


@pytest.fixture
def mention(holdfast, alice, bob):
    """Run a command that may reach both."""

    def run(*words, **more):
        return holdfast("webmention", *words, "--allow", alice.where, "--allow", bob.where, **more)

    return run


def test_a_post_is_fetched_and_told_to_those_it_links_to(mention, alice, bob):
    alice.page("/post", post(bob.url("/1"), bob.url("/none")))
    said = mention("send", alice.url("/post"))
    assert said.exit_code == 0
    assert said.stdout.splitlines() == [
        f"sent\t{alice.url('/post')}\t{bob.url('/1')}\t{bob.url('/take')}",
        f"not_found\t{alice.url('/post')}\t{bob.url('/none')}\t"
        + said.stdout.rsplit("\t", 1)[1].rstrip("\n"),
    ]
    assert "1 sent, 1 without an endpoint" in said.stderr
    assert bob.mentions == [(alice.url("/post"), bob.url("/1"))]


def test_a_new_footer_is_no_new_post_and_a_new_word_is(mention, alice, bob):
    alice.page("/post", post(bob.url("/1")))
    mention("send", alice.url("/post"))
    alice.page("/post", post(bob.url("/1"), footer=f"<footer><a href={bob.url('/2')}>f</a></footer>"))
    again = mention("send", alice.url("/post"))
    assert (again.exit_code, again.stdout) == (0, "")
    assert "1 unchanged" in again.stderr
    alice.page("/post", post(bob.url("/1"), words="more"))
    mention("send", alice.url("/post"))
    assert bob.mentions == [(alice.url("/post"), bob.url("/1"))] * 2


def test_of_a_feed_what_changed_is_sent(mention, alice, bob):
    alice.page("/a", post(bob.url("/1")))
    alice.page("/b", post(bob.url("/2")))
    items = "".join(f"<item><link>{url}</link></item>" for url in (alice.url("/a"), "/b", bob.url("/3")))
    feed = alice.page("/feed", f"<rss><channel>{items}</channel></rss>", kind="application/rss+xml")
    assert mention("send", feed).exit_code == 0
    assert sorted(bob.mentions) == [(alice.url("/a"), bob.url("/1")), (alice.url("/b"), bob.url("/2"))]
    alice.page("/b", post(bob.url("/2"), words="more"))
    said = mention("send", feed, "--json")
    changed = [row for row in map(json.loads, said.stdout.splitlines()) if row["mentions"]]
    assert [row["source"] for row in changed] == [alice.url("/b")]
    assert len(bob.mentions) == 3
    assert "/3" not in bob.asked


def test_a_sitemap_index_and_a_page_of_entries_are_lists_of_posts(mention, alice, bob):
    alice.page("/a", post(bob.url("/1")))
    alice.page("/b", post(bob.url("/2")))
    kind = "application/xml"
    alice.page("/posts.xml", f"<urlset><url><loc>{alice.url('/a')}</loc></url></urlset>", kind=kind)
    index = f"<sitemapindex><sitemap><loc>{alice.url('/posts.xml')}</loc></sitemap></sitemapindex>"
    assert mention("send", alice.page("/sitemap.xml", index, kind=kind)).exit_code == 0
    assert bob.mentions == [(alice.url("/a"), bob.url("/1"))]
    entries = "".join(
        f'<article class="h-entry"><a class="u-url" href="{path}">x</a></article>' for path in ("/a", "/b")
    )
    assert mention("send", alice.page("/", entries)).exit_code == 0
    assert bob.mentions[1:] == [(alice.url("/b"), bob.url("/2"))]


def test_a_page_of_a_sitemap_that_lists_posts_is_no_post(mention, alice, bob):
    alice.page("/a", post(bob.url("/1")))
    entry = '<article class="h-entry"><a class="u-url" href="{}">x</a></article>'
    alice.page("/tag", entry.format("/a") + entry.format("/b"))
    urls = "".join(f"<url><loc>{alice.url(path)}</loc></url>" for path in ("/tag", "/a"))
    said = mention("send", alice.page("/s.xml", f"<urlset>{urls}</urlset>", kind="text/xml"), "--json")
    assert [json.loads(line)["source"] for line in said.stdout.splitlines()] == [alice.url("/a")]


def test_one_post_that_cannot_be_read_stops_none_of_the_others(mention, alice, bob):
    alice.page("/b", post(bob.url("/2")))
    urls = "".join(f"<url><loc>{alice.url(path)}</loc></url>" for path in ("/lost", "/b"))
    said = mention("send", alice.page("/sitemap.xml", f"<urlset>{urls}</urlset>", kind="text/xml"))
    assert said.exit_code == 5
    assert "/lost" in said.stderr
    assert "404" in said.stderr
    assert len(bob.mentions) == 1


def test_a_store_that_goes_down_between_two_posts_is_one_line(mention, alice, bob, monkeypatch):
    async def down(*_, **__):
        raise StoreUnavailable("send: it went away")

    monkeypatch.setattr("holdfast.webmention.Webmention.send", down)
    urls = "".join(f"<url><loc>{alice.page(path, post())}</loc></url>" for path in ("/a", "/b"))
    said = mention("send", alice.page("/sitemap.xml", f"<urlset>{urls}</urlset>", kind="text/xml"))
    assert said.exit_code == 3
    assert said.stderr.count("\n") == 1
    assert "it went away" in said.stderr


def test_what_is_no_url_is_wrong_use_whatever_is_allowed(holdfast):
    said = holdfast("webmention", "send", "ftp://alice.example/post")
    assert said.exit_code == 2
    assert "only http and https" in said.stderr
    assert "--allow" not in said.stderr


def test_with_a_site_only_its_own_posts_are_sent(mention, alice, bob):
    alice.page("/blog/a", post(bob.url("/1")))
    alice.page("/b", post(bob.url("/2")))
    urls = "".join(f"<url><loc>{alice.url(path)}</loc></url>" for path in ("/blog/a", "/b"))
    sitemap = alice.page("/sitemap.xml", f"<urlset>{urls}</urlset>", kind="text/xml")
    assert mention("send", sitemap, "--site", alice.url("/blog")).exit_code == 0
    assert bob.mentions == [(alice.url("/blog/a"), bob.url("/1"))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("post.html", '<p>See <a href="{}">there</a>'),
        ("post.md", "See [there]({})."),
        ("post.txt", "See {} for more."),
    ],
)
def test_the_post_may_be_a_file(mention, bob, tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text.format(bob.url("/1")))
    assert mention("send", "https://alice.example/post", "--file", file).exit_code == 0
    assert bob.mentions == [("https://alice.example/post", bob.url("/1"))]


def test_the_post_may_come_by_standard_input(mention, bob):
    said = mention(
        "send", "https://alice.example/post", "--file", "-", stdin=f'<a href="{bob.url("/1")}">x</a>'
    )
    assert said.exit_code == 0, said.stderr
    assert len(bob.mentions) == 1


def test_a_dry_run_stores_nothing_and_tells_nobody(mention, alice, bob, tmp_path):
    alice.page("/post", post(bob.url("/1")))
    said = mention("send", alice.url("/post"), "--dry-run")
    assert said.stdout == f"would tell\t{alice.url('/post')}\t{bob.url('/1')}\n"
    assert "1 would be told" in said.stderr
    assert bob.asked == bob.mentions == []
    assert not (tmp_path / "app.db").exists()


def test_with_an_outbox_that_rehearses_nothing_goes_out(mention, alice, bob, monkeypatch):
    monkeypatch.setenv("HOLDFAST_DRY_OUTBOX", "true")
    alice.page("/post", post(bob.url("/1")))
    assert "would tell" in mention("send", alice.url("/post")).stdout
    assert mention("retry").exit_code == 2
    assert mention("work").exit_code == 2
    assert bob.asked == []


@pytest.mark.parametrize("how", ["410", "--deleted"])
def test_a_post_that_is_gone_is_told_as_gone(mention, alice, bob, how):
    alice.page("/post", post(bob.url("/1")))
    mention("send", alice.url("/post"))
    alice.page("/post", "gone", 410)
    said = mention("send", alice.url("/post"), *([how] if how != "410" else []))
    assert said.stdout == f"sent\t{alice.url('/post')}\t{bob.url('/1')}\tthe link is gone\n"
    assert len(bob.mentions) == 2


def test_what_is_refused_is_told_by_the_exit_code_and_can_be_retried(mention, alice, bob):
    alice.page("/post", post(bob.url("/1")))
    bob.answer = 400
    said = mention("send", alice.url("/post"))
    assert said.exit_code == 5
    assert said.stdout.startswith("failed\t")
    assert "thank you" in said.stdout or "400" in said.stdout
    bob.answer = 202
    assert mention("retry").stdout.startswith("sent\t")
    assert mention("retry").stdout == ""
    assert mention("retry", alice.url("/post"), bob.url("/1")).stdout.startswith("sent\t")
    assert len(bob.mentions) == 3


def test_retry_of_what_is_not_stored_is_no(mention, alice):
    assert mention("send", alice.page("/x", post())).exit_code == 0
    assert mention("retry", "https://alice.example/none").exit_code == 1


def test_what_waits_is_done_by_work_when_it_is_due(mention, alice, bob):
    alice.page("/post", post(bob.url("/1")))
    bob.answer = 503
    said = mention("send", alice.url("/post"))
    assert said.exit_code == 0
    assert "1 to be tried again; `holdfast webmention work`" in said.stderr
    assert mention("work", "--json").stdout == '{"done":0}\n'


def test_a_site_of_this_machine_is_reached_only_where_that_is_allowed(holdfast, alice):
    said = holdfast("webmention", "send", alice.page("/post", post()))
    assert said.exit_code == 2
    assert "--allow HOST:PORT" in said.stderr
    assert alice.asked == []


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [(404, "text/html", "it answered 404"), (200, "image/png", "neither a page nor a feed")],
)
def test_a_source_that_is_no_post_is_not_sent(mention, alice, status, kind, says):
    said = mention("send", alice.page("/post", "x", status, kind))
    assert said.exit_code == 3
    assert says in said.stderr


def test_a_page_without_microformats_is_sent_and_a_note_says_what_was_taken(mention, alice, bob):
    alice.page("/post", f'<main><a href="{bob.url("/1")}">x</a></main><a href="{bob.url("/2")}">y</a>')
    said = mention("send", alice.url("/post"))
    assert "no h-entry, so its main" in said.stderr
    assert [target for _, target in bob.mentions] == [bob.url("/1")]


def test_discover_says_step_by_step_where_the_endpoint_is(holdfast, bob):
    said = holdfast("webmention", "discover", bob.url("/1"), "--allow", bob.where)
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert lines[0].startswith("1. ")
    assert lines[-1] == f"endpoint: {bob.url('/take')}"
    found = json.loads(
        holdfast("webmention", "discover", bob.url("/1"), "--allow", bob.where, "--json").stdout
    )
    assert found["endpoint"] == bob.url("/take")
    assert found["where"] == "link"
    assert len(found["steps"]) == len(lines) - 1


def test_discover_says_why_there_is_none(holdfast, alice):
    said = holdfast("webmention", "discover", alice.page("/", "<p>no"), "--allow", alice.where)
    assert said.exit_code == 1
    assert "no <link> and no <a>" in said.stdout
    assert "takes no webmentions" in said.stderr


@pytest.mark.parametrize("words", [["--file", "x", "--deleted"], ["--deleted", "--dry-run"]])
def test_what_does_not_go_together_is_wrong_use(holdfast, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").write_text("")
    assert holdfast("webmention", "send", "https://alice.example/", *words).exit_code == 2


def test_an_exception_is_one_host_with_one_port(holdfast):
    said = holdfast("webmention", "send", "https://alice.example/", "--allow", "*")
    assert said.exit_code == 2
    assert "one host with one port" in said.stderr
