"""The logger, its lines, and what they hide."""

from __future__ import annotations

import logging
import logging.config
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pgdurable.logs import LogEvent, attach_logger, log, redact_dsn


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The package's logger as a fresh process has it, put back afterwards."""
    logger = logging.getLogger("pgdurable")
    before = logger.level, logger.handlers[:], logger.propagate
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    yield logger
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]
    logger.propagate = before[2]


@contextmanager
def fresh_root() -> Iterator[logging.Logger]:
    """The root logger as a fresh process has it: pytest has put handlers on ours."""
    root = logging.getLogger()
    before = root.handlers, root.level
    root.handlers = []
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])


def test_info_lines_reach_stdout_in_the_seeds_format(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_root():
        attach_logger()
        logging.getLogger("pgdurable.worker.loop").info("hello")

    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO pgdurable\.worker\.loop: hello\n",
        capsys.readouterr().out,
    )


def test_each_line_comes_once_where_the_application_has_a_handler_however_late(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_root():
        attach_logger()
        ours = logging.getLogger("pgdurable.worker.loop")
        ours.info("early")
        logging.basicConfig(stream=sys.stdout, format="theirs %(message)s", level=logging.WARNING)
        ours.info("late")
        logger.propagate = False
        ours.info("alone")

    early, late, alone = capsys.readouterr().out.splitlines()
    assert early.endswith("INFO pgdurable.worker.loop: early")
    assert late == "theirs late"
    assert alone.endswith("INFO pgdurable.worker.loop: alone")


def test_a_handler_that_says_nothing_does_not_silence_ours(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_root() as root:
        root.addHandler(logging.NullHandler())
        attach_logger().info("hello")

    assert "hello" in capsys.readouterr().out


def test_dict_config_does_not_silence_us(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = logging.getLogger("pgdurable.worker.loop"), logging.getLogger("theirs")
    with fresh_root():
        attach_logger()
        logging.config.dictConfig({"version": 1})
        try:
            log(ours, logging.INFO, LogEvent.WORKER_STARTED)
            assert theirs.disabled
        finally:
            for name in logging.root.manager.loggerDict:
                logging.getLogger(name).disabled = False

    assert "worker_started" in capsys.readouterr().out


def test_attaching_twice_adds_one_handler(logger: logging.Logger) -> None:
    assert attach_logger() is attach_logger() is logger

    assert len(logger.handlers) == 1


def test_a_stream_handler_that_is_there_is_left_alone(logger: logging.Logger) -> None:
    own = logging.StreamHandler()
    logger.addHandler(own)

    attach_logger()

    assert logger.handlers == [own]
    assert own.formatter is None


def test_propagation_stays_on(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    attach_logger()

    logging.getLogger("pgdurable.worker.loop").info("seen by others")

    assert logger.propagate
    assert "seen by others" in caplog.messages


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.NOTSET, logging.INFO),
        (logging.WARNING, logging.INFO),
        (logging.INFO, logging.INFO),
        (logging.DEBUG, logging.DEBUG),
    ],
)
def test_the_level_becomes_info_unless_it_is_lower(
    logger: logging.Logger, level: int, expected: int
) -> None:
    logger.setLevel(level)

    attach_logger()

    assert logger.level == expected


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_the_quiet_variable_leaves_the_logger_untouched(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PGDURABLE_LOG_QUIET", value)

    attach_logger()

    assert logger.handlers == []
    assert logger.level == logging.NOTSET


@pytest.mark.parametrize("value", ["", "0", "no"])
def test_any_other_value_of_the_quiet_variable_attaches(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PGDURABLE_LOG_QUIET", value)

    attach_logger()

    assert len(logger.handlers) == 1


def test_a_transition_is_logged_as_text_and_as_fields(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pgdurable")

    log(
        logger,
        logging.INFO,
        LogEvent.RESPONSE_CLAIMED,
        response_id="resp_1",
        attempt=2,
        worker_id="w",
        queue="default",
        reason=None,
    )

    (record,) = caplog.records
    text = "response_claimed response_id=resp_1 attempt=2 worker_id=w queue=default"
    assert record.getMessage() == text
    fields = {name: vars(record)[name] for name in ("event", "response_id", "attempt", "queue")}
    assert fields == {
        "event": "response_claimed",
        "response_id": "resp_1",
        "attempt": 2,
        "queue": "default",
    }
    assert not hasattr(record, "reason")
    assert record.filename == "test_logs.py"


def test_no_value_can_forge_a_line(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pgdurable")

    log(logger, logging.INFO, LogEvent.LEASE_LOST, worker_id="a\r\nforged\u2028line\x85", n="%s %d")

    assert caplog.messages == ["lease_lost worker_id=a forged line  n=%s %d"]


def test_names_that_a_record_has_anyway_do_no_harm(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pgdurable")

    log(logger, logging.INFO, LogEvent.WORKER_STARTED, name="n", message="m", args="a", module="x")

    assert caplog.messages == ["worker_started name=n message=m args=a module=x"]
    assert caplog.records[0].name == "pgdurable"


def test_an_exception_is_logged_with_its_traceback(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="pgdurable")

    log(logger, logging.ERROR, LogEvent.HANDLER_FAILED, exc_info=ValueError("boom"))

    assert "ValueError: boom" in caplog.text


def test_a_disabled_level_costs_no_formatting(logger: logging.Logger) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise AssertionError

    logger.setLevel(logging.INFO)

    log(logger, logging.DEBUG, LogEvent.RENEWAL_FAILED, count=Unprintable())

    assert not logger.isEnabledFor(logging.DEBUG)


def test_event_names_are_snake_case_and_named_like_their_constants() -> None:
    for event in LogEvent:
        assert event.value == event.name.lower()
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", event)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:s3cret@host:5432/db",
        "postgresql://user:s3cret@host/db?sslmode=require&password=s3cret&a=b",
        "postgres://:s3cret@/db",
        "postgresql://user:s3/cr@s3cret@host/db",
        "postgresql://host/db?sslpassword=s3cret",
        "postgresql://user:s3cret@[::1]:99999999/db",
        "host=h password=s3cret user=u",
        "password = 's3cret with \\' quote s3cret' host=h",
        "password=s3cret\\ s3cret host=h",
        "password=a&s3cret host=h",
        "password='never closed s3cret",
        "PASSWORD=s3cret",
        "host=h sslpassword='s3cret'",
    ],
)
def test_no_password_survives_redaction(dsn: str) -> None:
    redacted = redact_dsn(dsn)

    assert "s3cret" not in redacted
    assert "***" in redacted


@pytest.mark.parametrize(
    ("dsn", "redacted"),
    [
        ("postgresql://user:pw@host:5432/db", "postgresql://user:***@host:5432/db"),
        ("host=h password='p w' user=u", "host=h password=*** user=u"),
        ("postgresql://user@host/db?a=b", "postgresql://user@host/db?a=b"),
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("host=h user=u", "host=h user=u"),
        ("", ""),
    ],
)
def test_everything_else_stays_readable(dsn: str, redacted: str) -> None:
    assert redact_dsn(dsn) == redacted
