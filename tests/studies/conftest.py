"""A PostgreSQL server for the tests of a session, where its programs are installed."""

import pytest
from postgresql_server import NotInstalledError, postgresql_server


@pytest.fixture(scope="session")
def postgresql():
    """The address of an empty database."""
    try:
        with postgresql_server() as address:
            yield address
    except NotInstalledError as error:
        pytest.skip(str(error))
