"""A browser on a gateway of each test's own."""

import pytest
from factories.page_browser import Browser


@pytest.fixture
def browser(running):
    opened = Browser(running.url)
    yield opened
    opened.http.close()
