"""Addresses are stored and shown without their passwords."""

import pytest

from clso.addresses import lacks_password, without_password
from clso.errors import ArtifactError, ConfigError
from pipelines.config import load_config
from search.tuning.database import open_database


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:sec/r@et@host/db", "postgresql://me:***@host/db"),
        (
            "postgresql+psycopg2://me@host/db?password=secret&a=b",
            "postgresql+psycopg2://me@host/db",
        ),
        ("https://secret@host/api", "https://***@host/api"),
        ("http://me:secret@127.0.0.1:4200/api", "http://me:***@127.0.0.1:4200/api"),
    ],
)
def test_a_password_is_hidden_and_what_lacks_it_is_known(address: str, shown: str) -> None:
    hidden = without_password(address)
    assert "sec" not in hidden
    assert hidden.startswith(shown)
    assert without_password(hidden) == hidden
    assert lacks_password(hidden)
    assert not lacks_password(address)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me@host:5432/db",
        "sqlite:////a@b:c/study.db",
        "http://127.0.0.1:5000",
        "journal:/shared/a@b",
    ],
)
def test_an_address_without_a_password_stays_as_it_is(address: str) -> None:
    assert without_password(address) == address
    assert not lacks_password(address)


def test_a_configuration_has_no_password_in_json_and_cannot_be_used_so() -> None:
    sets = [
        "tune.storage=postgresql://me:secret@host/db",
        "runtime.tracking={to: [mlflow], mlflow_uri: 'http://me:secret@host'}",
    ]
    config = load_config("smoke", sets)
    assert config.tune is not None
    assert config.tune.storage == "postgresql://me:secret@host/db"
    assert "secret" not in config.model_dump_json()
    again = type(config).model_validate(config.model_dump(mode="json"))
    assert again.tune is not None
    assert again.tune.storage is not None
    with (
        pytest.raises(ArtifactError, match=r"never stored\n.*--storage"),
        open_database(again.tune.storage, retries=0, heartbeat_s=1),
    ):
        pass
    with pytest.raises(ConfigError, match=r"never stored\n.*--set runtime.tracking.mlflow_uri"):
        again.runtime.tracking.open("name", __file__)  # type: ignore[arg-type]
