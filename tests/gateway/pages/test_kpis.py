"""The page of costs and KPIs."""

import html
import re


def ask(browser, count):
    for number in range(count):
        messages = [{"role": "user", "content": f"question {number}"}]
        browser.post("/pages/chat/answer", json={"conversation": "1" * 32, "messages": messages})


def test_the_page_shows_what_happened(browser, backend):
    browser.open()
    ask(browser, 3)
    backend.breaks_after = 1
    ask(browser, 1)
    page = browser.open("/pages/kpis")
    assert page.status_code == 200
    (report,) = re.findall(r'data-load="([^"]+)"', page.text)
    page = browser.open(html.unescape(report))
    text = re.sub(r"<[^>]+>|\s+", " ", page.text)
    assert re.search(r"availability\s+75\.0 %\s+&gt; 99\.5 %\s+missed", text)
    table = browser.http.get("/pages/kpis/days.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert table.headers["content-disposition"].startswith('attachment; filename="days-')
    assert table.text.splitlines()[1].split(",")[1:3] == ["4", "1"]
    assert browser.http.get("/pages/kpis/secrets.csv").status_code == 404


def test_a_period_or_an_amount_that_is_none_is_told(browser):
    page = browser.open("/pages/kpis?since=%3Cscript%3E")
    assert page.status_code == 400 and "not a day" in page.text
    assert "<script>" not in page.text.replace('<script src="', "")
    assert "no amount of dollars" in browser.open("/pages/kpis?fixed=-1").text
    assert browser.http.get("/pages/kpis/days.csv?until=x").status_code == 400
    for wrong in ("per_million=NaN", "fixed=sNaN", "until=9999-12-31"):
        assert browser.open(f"/pages/kpis?{wrong}").status_code == 400, wrong
        assert browser.http.get(f"/pages/kpis/days.csv?{wrong}").status_code == 400, wrong
