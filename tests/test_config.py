from __future__ import annotations

from pathlib import Path

import pytest

from firehose_indexer.config import GROUPS, SETTINGS, Settings, colour_wanted, debug_wanted, load
from firehose_indexer.errors import ConfigError
from firehose_indexer.kinds import Bind


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_nothing_given_means_defaults():
    settings = load(environ={})
    assert settings == Settings()
    assert settings.relay_url == ("wss://bsky.network",)
    assert settings.origin("relay_url") == "default"


def test_flag_beats_environment_beats_file_beats_default():
    Path("firehose.toml").write_text("batch_ops = 10\nbatch_mb = 2\nmemory_mb = 900\n")
    settings = load({"batch_ops": "30"}, environ={"BATCH_OPS": "20", "BATCH_MB": "3"})
    assert (settings.batch_ops, settings.batch_mb, settings.memory_mb) == (30, 3, 900)
    assert settings.origin("batch_ops") == "--batch-ops"
    assert settings.origin("batch_mb") == "BATCH_MB"
    assert settings.origin("memory_mb") == "firehose.toml"
    assert settings.origin("batch_milliseconds") == "default"


@pytest.mark.parametrize("name", SETTINGS)
def test_every_default_is_legal_and_shown_so_that_it_parses_back(name):
    setting = SETTINGS[name]
    if setting.default is None:
        assert setting.show(None) == ""
    else:
        assert setting.kind.parse(setting.show(setting.default)) == setting.default


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_a_group_and_a_sentence(name):
    assert SETTINGS[name].group in GROUPS
    assert SETTINGS[name].sentence.endswith(".")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BATCH_OPS", "0"),
        ("BATCH_OPS", "100001"),
        ("BATCH_OPS", "many"),
        ("BATCH_OPS", "1.5"),
        ("DB_POOL_SIZE", "3"),
        ("CURSOR_START", "newest"),
        ("MIGRATE", "maybe"),
        ("HTTP_BIND", "2490"),
        ("HTTP_BIND", "host:70000"),
        ("HTTP_BIND", ":80"),
        ("DATABASE_URL", "mysql://x"),
        ("RELAY_URL", ","),
        ("RELAY_URL", "@/nowhere"),
        ("DNS_SERVERS", "9.9.9.9,dns.example.com"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_value_out_of_range_is_an_error_that_names_variable_and_source(variable, text):
    with pytest.raises(ConfigError) as caught:
        load(environ={variable: text})
    assert variable in str(caught.value)
    assert f"(from {variable})" in str(caught.value)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_a_mode_of_verify_that_does_not_exist_is_refused_with_the_one_that_does():
    with pytest.raises(ConfigError) as caught:
        load(environ={"VERIFY": "full"})
    assert "off" in str(caught.value)


def test_unknown_variables_with_our_prefixes_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError) as caught:
        load(environ={"BATCH_OP": "1", "STREAM_QUEUE": "5", "SOMEBODY_ELSES": "1"})
    assert "BATCH_OP is not a setting. Did you mean BATCH_OPS?" in str(caught.value)
    assert "STREAM_QUEUE is not a setting" in str(caught.value)
    assert "SOMEBODY_ELSES" not in str(caught.value)


def test_an_empty_variable_is_an_unset_one():
    assert load(environ={"BATCH_OPS": "", "DATABASE_URL": " "}) == Settings()


def test_older_names_have_no_effect_and_say_so():
    settings = load(
        environ={"BACKFILL_BATCH_SIZE": "9", "WORKER_ID": "1", "REDIS_URL": "redis://x", "CONSUMER_ID": "a"}
    )
    assert settings == Settings()
    said = "\n".join(settings.notices)
    assert "BACKFILL_BATCH_SIZE has no effect" in said
    assert "WORKER_ID has no effect" in said
    assert sum("Redis" in notice for notice in settings.notices) == 1


def test_lists_split_at_commas_and_read_files(tmp_path):
    (tmp_path / "relays").write_text("wss://a, wss://b\nwss://c\n")
    assert load(environ={"RELAY_URL": "wss://a,wss://b"}).relay_url == ("wss://a", "wss://b")
    assert load(environ={"RELAY_URL": f"@{tmp_path}/relays"}).relay_url == ("wss://a", "wss://b", "wss://c")


def test_a_secret_may_come_from_a_file(tmp_path):
    (tmp_path / "url").write_text("postgresql://u:p@h/d\n")
    settings = load(environ={"DATABASE_URL_FILE": str(tmp_path / "url")})
    assert settings.database_url == "postgresql://u:p@h/d"
    assert settings.origin("database_url") == "DATABASE_URL_FILE"


def test_a_secret_given_twice_is_an_error(tmp_path):
    (tmp_path / "url").write_text("postgresql://u:p@h/d\n")
    with pytest.raises(ConfigError, match="both"):
        load(environ={"DATABASE_URL_FILE": str(tmp_path / "url"), "DATABASE_URL": "postgresql://x/y"})


def test_a_missing_secret_file_is_an_error():
    with pytest.raises(ConfigError, match="/nowhere"):
        load(environ={"DATABASE_URL_FILE": "/nowhere"})


def test_passwords_show_neither_in_repr_nor_in_errors():
    settings = load(environ={"DATABASE_URL": "postgresql://u:sesame@h/d"})
    assert "sesame" not in repr(settings)
    assert "sesame" not in SETTINGS["database_url"].show(settings.database_url)
    with pytest.raises(ConfigError) as caught:
        load(environ={"DATABASE_URL": "mysql://u:sesame@h/d"})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:2490", Bind("127.0.0.1", 2490)),
        ("[::1]:80", Bind("::1", 80)),
        ("localhost:0", Bind("localhost", 0)),
    ],
)
def test_a_listening_address_reads_and_shows_the_same(text, bind):
    assert load(environ={"HTTP_BIND": text}).http_bind == bind
    assert str(bind) == text


def test_an_unknown_key_in_the_file_is_refused_with_a_suggestion():
    Path("firehose.toml").write_text("batch_op = 10\n")
    with pytest.raises(ConfigError, match="batch_ops"):
        load(environ={})


@pytest.mark.parametrize(
    "text", ["batch_ops = ", "[batch]\nops = 1\n", "batch_ops = 1.5\n", "relay_url = [1]\n"]
)
def test_a_file_of_another_shape_is_refused(text):
    Path("firehose.toml").write_text(text)
    with pytest.raises(ConfigError):
        load(environ={})


def test_a_file_speaks_toml_types():
    Path("other.toml").write_text('relay_url = ["wss://a", "wss://b"]\nmigrate = false\n')
    settings = load(file=Path("other.toml"), environ={})
    assert settings.relay_url == ("wss://a", "wss://b")
    assert settings.migrate is False
    assert settings.origin("migrate") == "other.toml"


def test_a_named_file_must_exist():
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load(file=Path("gone.toml"), environ={})


def test_queues_that_exceed_the_memory_are_refused():
    with pytest.raises(ConfigError, match="MEMORY_MB"):
        load(environ={"MEMORY_MB": "256", "STREAM_QUEUE_MB": "200"})


def test_switch_flags_carry_booleans():
    settings = load({"migrate": False}, environ={})
    assert settings.migrate is False
    assert settings.origin("migrate") == "--migrate"


def test_no_color_and_dumb_terminals_mean_no_colour():
    assert colour_wanted({})
    assert not colour_wanted({"NO_COLOR": "1"})
    assert not colour_wanted({"TERM": "dumb"})


def test_debug_is_known_even_when_the_rest_is_wrong():
    assert debug_wanted({}, {"LOG_LEVEL": "debug"})
    assert debug_wanted({"log_level": "DEBUG"}, {})
    assert not debug_wanted({"log_level": "info"}, {"LOG_LEVEL": "debug"})
