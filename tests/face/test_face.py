"""What `import lockstore` offers, and what it does not load."""

import pydoc
import subprocess
import sys

import pytest

import lockstore
from lockstore import errors


def loaded_by(statement: str) -> set[str]:
    """Give the top-level modules that are loaded in a new interpreter after a statement."""
    program = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", lockstore.__all__)
def test_every_name_that_is_offered_is_there(name: str) -> None:
    assert getattr(lockstore, name) is not None
    assert name in dir(lockstore)


def test_every_error_is_offered() -> None:
    assert set(errors.__all__) <= set(lockstore.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LokClient'"):
        lockstore.LokClient  # noqa: B018 - to ask for it is the test


def test_a_store_loads_no_amqp_library_and_the_client_no_redis() -> None:
    assert not loaded_by("from lockstore import LockStore, InMemoryLockStore") & {
        "aiormq",
        "pamqp",
        "aio_pika",
        "redis",
    }
    assert not loaded_by("from lockstore import LockClient") & {"redis", "boto3", "structlog", "aio_pika", "daemon"}
    assert not loaded_by("import lockstore") & {"aiormq", "redis", "pydantic"}


def test_help_reads_as_a_table_of_contents() -> None:
    text = pydoc.plain(pydoc.render_doc(lockstore))
    for name in ("LockClient", "LockStore", "create_store", "LockstoreError", "client, factory"):
        assert name in text
