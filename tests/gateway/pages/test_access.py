"""Who sees the pages, and who may change something from them."""

import re

import httpx
import pytest
from factories.running_gateway import RunningGateway, gateway

from stock_llm.gateway.api.session import COOKIE, Sessions
from stock_llm.gateway.pages.project import CandleChart, PriceLevel
from stock_llm.gateway.pages.worker import ProjectWorker
from stock_llm.settings import load_settings

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "text/plain"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_whoever_does_not_ask_for_html_gets_ollamas_greeting(running, accept, method):
    answer = running.http.request(method, "/", headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == ("Ollama is running" if method == "GET" else "")


def test_a_browser_gets_the_chat_page_and_a_session(running):
    answer = running.http.get("/", headers={"accept": CHROME})
    assert answer.headers["content-type"].startswith("text/html")
    cookie = answer.headers["set-cookie"].lower()
    assert COOKIE in cookie and "httponly" in cookie and "samesite=strict" in cookie
    head = running.http.head("/", headers={"accept": CHROME})
    assert head.status_code == 200 and head.headers["content-type"].startswith("text/html")


def test_a_page_of_another_program_of_this_machine_gets_the_greeting(running):
    headers = {"accept": CHROME, "origin": "http://localhost:3000"}
    assert running.http.get("/", headers=headers).text == "Ollama is running"


def test_no_page_of_another_origin_may_ask_for_what_pages_show(running):
    headers = {"accept": CHROME, "origin": "http://localhost:3000"}
    assert running.http.get("/pages/chat/conversations", headers=headers).status_code == 403


def test_a_page_runs_and_loads_nothing_but_the_gateways_own_files(browser):
    answer = browser.open()
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'"
    assert policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=", answer.text)
    urls = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    loaded = [url for url in urls if not url.startswith("https://www.tradingview.com/")]
    assert loaded and all(url.startswith("/") for url in loaded)


def test_what_changes_something_needs_the_token_of_the_page(browser):
    browser.open()
    path = "/pages/chat/conversations/0/delete"
    assert browser.post(path).status_code == 200
    assert browser.post(path, csrf="").status_code == 403
    assert browser.post(path, csrf="0" * 32).status_code == 403
    browser.http.cookies.clear()
    assert browser.post(path).status_code == 403


def test_the_origin_of_a_form_is_sent_and_the_gateways_own_is_let_in(running, browser):
    page = browser.open("/pages/model")
    assert page.headers["referrer-policy"] == "same-origin"  # with no-referrer it would be "null"
    change = {"csrf_token": browser.csrf, "language": "th", "back": "/"}
    for origin, status in ((running.url, 303), ("null", 403), ("http://127.0.0.1:1", 403)):
        answer = browser.http.post("/pages/appearance", data=change, headers={"origin": origin})
        assert answer.status_code == status, origin


def test_a_login_page_asks_for_the_token_and_lets_in(tmp_path, backend):
    with gateway(tmp_path, backend.host, token="right", users={"ann": "anns"}) as running:
        with httpx.Client(base_url=running.url, headers={"accept": CHROME}) as browser:
            assert browser.get("/").headers["location"] == "/pages/login"
            assert (
                browser.get("/pages/chat/conversations", headers={"accept": "*/*"}).status_code
                == 401
            )
            page = browser.get("/pages/login")
            assert page.status_code == 200 and 'type="password"' in page.text
            assert browser.get("/pages/static/pages.css").status_code == 200
            wrong = browser.post("/pages/login", data={"token": "wrong"})
            assert wrong.status_code == 401 and browser.get("/").status_code == 303
            assert browser.post("/pages/login", data={"token": "right"}).status_code == 303
            assert browser.get("/").status_code == 200
            # the cookie is for the pages: the APIs ask for the token itself
            assert browser.get("/api/tags").status_code == 401
        assert running.http.get("/").status_code == 401


def test_ledger_and_model_are_shown_to_their_owner_alone(tmp_path, backend, monkeypatch):
    async def run_here(_worker, function, *arguments):
        return function(*arguments)

    monkeypatch.setattr(ProjectWorker, "run", run_here)
    chart = CandleChart("KESTRO", (), (PriceLevel("support", 1.0), PriceLevel("cost", 2.0)))
    project = {"find_chart": lambda _: chart, "suggest": lambda _: ("Analyze KESTRO.",)}
    tokens = {"token": "mine", "users": {"ann": "anns"}}
    settings = load_settings(home=tmp_path, ollama_host=backend.host, gateway=tokens)
    with RunningGateway(settings, project=project) as running:
        for token, is_owner in (("mine", True), ("anns", False)):
            with httpx.Client(base_url=running.url, headers={"accept": CHROME}) as browser:
                browser.post("/pages/login", data={"token": token})
                page = browser.get("/").text
                assert ("/pages/portfolio" in page, "/pages/model" in page) == (is_owner,) * 2
                for path in ("portfolio", "model"):
                    assert browser.get(f"/pages/{path}").status_code == (200 if is_owner else 403)
                csrf = {"x-csrf-token": page.partition('csrf-token" content="')[2][:32]}
                for path in ("portfolio/preview?name=a.csv", "portfolio/keep?name=a.csv"):
                    sent = browser.post(f"/pages/{path}", content=b"", headers=csrf)
                    assert sent.status_code == (200 if is_owner else 403), path
                tried = browser.post("/pages/model/rollback", data={}, headers=csrf)
                assert tried.status_code == (400 if is_owner else 403)
                kinds = [each["kind"] for each in browser.get("/pages/chat/chart").json()["levels"]]
                assert kinds == (["support", "cost"] if is_owner else ["support"])
                suggested = browser.get("/pages/chat/suggestions").json()
                assert suggested == (["Analyze KESTRO."] if is_owner else [])
        for path in ("portfolio/holdings", "model/versions"):
            guest = {"authorization": "Bearer anns"}
            assert running.http.get(f"/pages/{path}", headers=guest).status_code == 403


def test_a_form_that_is_too_long_is_refused(browser):
    browser.open()
    sent = browser.http.post("/pages/login", content=b"a=1&" * 10_000)
    assert sent.status_code == 413


def test_a_session_ends_with_its_token_and_cannot_be_made_up():
    sessions = Sessions(b"k" * 32, {"ann": b"one"})
    cookie = f"other=1; {COOKIE}={sessions.new('ann').cookie}"
    assert sessions.read(cookie).user == "ann"
    assert Sessions(b"k" * 32, {"ann": b"two"}).read(cookie) is None
    assert Sessions(b"k" * 32, {"bob": b"one"}).read(cookie) is None
    assert Sessions(b"x" * 32, {"ann": b"one"}).read(cookie) is None
    nobody = Sessions(b"k" * 32, {})
    assert sessions.read(f"{COOKIE}={nobody.new('').cookie}") is None
    assert sessions.read(cookie[:-2]) is None and sessions.read("") is None


def test_language_and_colours_are_chosen_and_kept(browser):
    assert '<html lang="en">' in browser.open().text
    assert (
        '<html lang="th">'
        in browser.open("/", **{"accept-language": "th-TH,th;q=0.9,en;q=0.8"}).text
    )
    chosen = browser.post("/pages/appearance", data={"language": "th", "back": "/"})
    assert chosen.headers["location"] == "/"
    browser.post("/pages/appearance", data={"theme": "dark", "back": "//elsewhere.example/"})
    page = browser.open().text
    assert '<html lang="th" data-theme="dark">' in page and "บทสนทนา" in page
    elsewhere = browser.post("/pages/appearance", data={"back": "https://elsewhere.example/"})
    assert elsewhere.headers["location"] == "/"


def test_files_are_compressed_and_kept_by_browsers_until_they_change(browser):
    page = browser.open().text
    urls = re.findall(r'"(/pages/static/[^"]+)"', page)
    sizes = []
    for url in dict.fromkeys(urls):
        file = browser.http.get(url)
        assert file.status_code == 200 and "immutable" in file.headers["cache-control"]
        again = browser.http.get(url, headers={"if-none-match": file.headers["etag"]})
        assert again.status_code == 304
        sizes.append(int(file.headers["content-length"]))
    assert sum(sizes) + len(page) < 300_000
    assert (
        browser.http.get(f"{urls[0].partition('?')[0]}?old").headers["cache-control"] == "no-cache"
    )


@pytest.mark.parametrize(
    "name", ["..%2froutes.py", "../rendering.py", "none.js", "vendor", "a%00.js"]
)
def test_no_other_file_is_served(browser, name):
    assert browser.http.get(f"/pages/static/{name}").status_code == 404
