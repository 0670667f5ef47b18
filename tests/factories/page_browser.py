"""A browser without a window: what it keeps between two requests."""

import re

import httpx


class Browser:
    """What a browser keeps between two requests: cookies, and the CSRF token of the last page."""

    def __init__(self, url: str):
        self.http = httpx.Client(base_url=url, timeout=250, headers={"accept": "text/html"})
        self.csrf = ""

    def open(self, path: str = "/", **headers: str) -> httpx.Response:
        answer = self.http.get(path, headers=headers)
        if found := re.search(r'name="csrf-token" content="(\w+)"', answer.text):
            self.csrf = found[1]
        return answer

    def post(self, path: str, csrf: str | None = None, **content: object) -> httpx.Response:
        headers = {"x-csrf-token": self.csrf if csrf is None else csrf}
        return self.http.post(path, headers=headers, **content)
