"""One server for all tests."""

import shutil

import pytest

import serving


@pytest.fixture(scope="session")
def bakery():
    bakery = serving.start()
    yield bakery
    bakery.stop()
    shutil.rmtree(bakery.folder)
