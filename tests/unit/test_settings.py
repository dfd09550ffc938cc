from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import StoreMisconfigured
from holdfast.settings import Settings


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_environment({"PATH": "/bin"})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.store) == ("127.0.0.1", 8000, "memory://")


def test_every_field_is_read_from_its_variable_and_written_back() -> None:
    settings = Settings(
        store="redis://:pw@localhost/0",
        namespace="app",
        auto_migrate=False,
        max_bytes=99,
        host="::1",
        port=0,
        workers=3,
        root_path="/store",
        forwarded_allow_ips="*",
        allow_hosts=("a.example", "b.example"),
        site="https://alice.example",
        webmention_accept="none",
        dry_outbox=True,
        token="a token of some length",
        token_file="/run/token",
    )
    assert len(settings.environment()) == len(Settings.__struct_fields__)
    assert Settings.from_environment(settings.environment()) == settings


def test_the_command_line_wins_over_the_environment_and_none_is_not_given() -> None:
    environ = {"HOLDFAST_STORE": "memory://", "HOLDFAST_PORT": "9000"}
    settings = Settings.from_environment(environ, store="sqlite:///app.db", port=None)
    assert (settings.store, settings.port) == ("sqlite:///app.db", 9000)


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"HOLDFAST_TOKEN": "", "HOLDFAST_PORT": ""}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("HOLDFAST_STOER", "memory://", "did you mean 'HOLDFAST_STORE'"),
        ("HOLDFAST_ALLOW_HOSTS", "x", "did you mean 'HOLDFAST_ALLOW_HOST'"),
        ("HOLDFAST_PORT", "http", "not a whole number"),
        ("HOLDFAST_PORT", "70000", "not between"),
        ("HOLDFAST_WORKERS", "0", "at least one"),
        ("HOLDFAST_MAX_BYTES", "0", "at least one"),
        ("HOLDFAST_AUTO_MIGRATE", "perhaps", "neither true nor false"),
        ("HOLDFAST_ROOT_PATH", "store/", "starts with a slash"),
        ("HOLDFAST_TOKEN", "short", "16 ASCII characters"),
        ("HOLDFAST_SITE", "alice.example", "such as https://alice.example"),
        ("HOLDFAST_SITE", "https://alice.example/?page=1", "such as https://alice.example"),
        ("HOLDFAST_WEBMENTION_ACCEPT", "everybody", "all, known or none"),
        ("HOLDFAST_WEBMENTION_ALLOW", "127.0.0.1:80", "unknown HOLDFAST_WEBMENTION_ALLOW"),
        ("HOLDFAST_DRY_OUTBOX", "perhaps", "neither true nor false"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_an_error_in_words(name: str, text: str, says: str) -> None:
    with pytest.raises(StoreMisconfigured, match=says):
        Settings.from_environment({name: text})


def test_what_kubernetes_says_of_a_service_called_holdfast_is_not_a_setting() -> None:
    environ = {
        "HOLDFAST_SERVICE_HOST": "10.0.0.1",
        "HOLDFAST_SERVICE_PORT_HTTP": "80",
        "HOLDFAST_PORT": "tcp://10.0.0.1:80",
        "HOLDFAST_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert Settings.from_environment(environ) == Settings()


def test_an_unknown_keyword_suggests_the_right_one() -> None:
    with pytest.raises(TypeError, match="did you mean 'workers'"):
        Settings.from_environment({}, worker=2)


def test_neither_the_token_nor_a_password_is_ever_shown() -> None:
    settings = Settings(store="redis://u:geheim@h/0?password=geheim", token="geheim-geheim-geheim")
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "geheim" not in text
        assert "***" in text


def test_a_token_file_gives_its_first_line_and_a_given_token_wins(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("  the-token-in-the-file \nmore\n")
    assert Settings(token_file=str(file)).given_token() == "the-token-in-the-file"
    assert Settings(token_file=str(file), token="the-token-by-value").given_token() == "the-token-by-value"
    assert Settings().given_token() is None


def test_a_token_file_that_cannot_serve_is_an_error_without_its_content(tmp_path: Path) -> None:
    with pytest.raises(StoreMisconfigured, match="No such file"):
        Settings(token_file=str(tmp_path / "none")).given_token()
    file = tmp_path / "token"
    file.write_text("kurz\n")
    with pytest.raises(StoreMisconfigured, match="under 16 characters") as caught:
        Settings(token_file=str(file)).given_token()
    assert "kurz" not in str(caught.value)
    file.write_bytes(b"\xff" * 40)
    with pytest.raises(StoreMisconfigured, match="not ASCII"):
        Settings(token_file=str(file)).given_token()
