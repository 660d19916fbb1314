import pytest
from pydantic import ValidationError

from service.errors import InvalidSettings
from service.settings import Settings, load_settings, unknown_variables
from tests.docs import settings_table


def test_defaults_listen_on_loopback_only() -> None:
    assert Settings().is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_recognised(host: str) -> None:
    assert Settings(host=host).is_loopback


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.7", "example.org", "localhost.evil", "a.localhost"]
)
def test_everything_else_is_not_loopback(host: str) -> None:
    assert not Settings(host=host).is_loopback


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_MAX_BATCH", "4")
    assert load_settings().max_batch == 4


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_PORT", "9000")
    assert load_settings(port=9001).port == 9001


def test_arguments_that_are_none_leave_the_environment_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIKENESS_PORT", "9000")
    assert load_settings(port=None).port == 9000


def test_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_BUNDLE", "")
    assert load_settings().bundle is None


def test_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_BUNDEL", "x")
    with pytest.raises(InvalidSettings, match=r"LIKENESS_BUNDEL .* did you mean LIKENESS_BUNDLE"):
        load_settings()


def test_misspelt_variable_stops_settings_built_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_BUNDEL", "x")
    with pytest.raises(ValidationError, match="LIKENESS_BUNDEL"):
        Settings(port=1)


def test_variable_for_the_tests_is_tolerated() -> None:
    assert unknown_variables({"LIKENESS_FACES": "/faces", "PATH": "/bin"}) == []


def test_value_out_of_bounds_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_GATHER_MS", "50")
    with pytest.raises(InvalidSettings, match="LIKENESS_GATHER_MS: Input should be less"):
        load_settings()


def test_value_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIKENESS_PORT", "hunter2")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert "hunter2" not in caught.value.sentence


def test_store_stays_out_of_the_printed_settings() -> None:
    assert "secret" not in repr(Settings(store="postgresql://user:secret@host/db"))


@pytest.mark.parametrize("device", ["cuda:1", "cpu", "auto", "cuda"])
def test_device_is_accepted(device: str) -> None:
    assert Settings(device=device).device == device


def test_unknown_device_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="LIKENESS_DEVICE"):
        load_settings(device="tpu")


def test_unknown_argument_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="BATCH_MAX"):
        load_settings(batch_max=1)


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.__setattr__("port", 1)


@pytest.mark.parametrize(("gpu", "limit"), [(False, 8), (True, 32)])
def test_batch_follows_the_device(gpu: bool, limit: int) -> None:
    assert Settings().batch_limit(gpu) == limit


def test_queue_follows_the_batch() -> None:
    assert Settings(max_batch=3).queue_limit(gpu=True) == 24


def test_there_is_always_a_thread_that_decodes() -> None:
    assert Settings().threads() >= 1


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_table_names_every_variable() -> None:
    table = settings_table()
    assert all(f"`LIKENESS_{name.upper()}`" in table for name in Settings.model_fields)


def test_table_rows_have_three_cells() -> None:
    assert {row.count(" | ") for row in settings_table().splitlines()[2:]} == {2}
