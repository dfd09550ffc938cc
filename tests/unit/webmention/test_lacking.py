from holdfast.webmention.lacking import no_inbox, too_small


def test_what_is_missing_is_named_with_the_protocol_that_has_it() -> None:
    assert str(too_small("delete")).startswith("delete: ")
    assert "Outbox" in str(too_small("delete"))


def test_who_cannot_receive_is_told_what_it_takes() -> None:
    assert "Mine" in str(no_inbox("Mine"))
    assert "Webmention(url)" in str(no_inbox("Mine"))
