"""GET /docs: the API as a page for people, made of /openapi.json in the browser.

Without a library from somewhere else: FastAPI's own page would load one from a content network each time it is opened, and
nothing here leaves the machine unasked. The page's policy forbids it to load anything but this gateway's own description.
"""

from fastapi.responses import HTMLResponse

_POLICY = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'"

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>stock-llm gateway</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
  body { color: #222; background: #fff }
  h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem }
  summary { cursor: pointer; padding: .3rem 0 }
  summary b { display: inline-block; min-width: 4rem; color: #06c }
  pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; border-radius: 4px; white-space: pre-wrap }
  td { padding: 0 1rem .2rem 0; vertical-align: top }
  @media (prefers-color-scheme: dark) {
    body { color: #ddd; background: #1a1a1a } pre { background: #2a2a2a } summary b { color: #6af }
  }
</style>
<body>
<script>
const put = (parent, tag, text) => {
  const added = document.createElement(tag); added.textContent = text ?? ""; parent.append(added); return added;
};
const JSON_SENT = " -H 'content-type: application/json' -d";
const shown = (value) => typeof value === "string" ? value : JSON.stringify(value, null, 2);
fetch("/openapi.json").then((answer) => answer.json()).then((api) => {
  put(document.body, "h1", api.info.title);
  put(document.body, "p", api.info.description.trim());
  const sections = {};
  for (const [path, methods] of Object.entries(api.paths)) for (const [method, operation] of Object.entries(methods)) {
    const tag = operation.tags[0];
    if (!sections[tag]) { put(document.body, "h2", tag); sections[tag] = put(document.body, "div") }
    const entry = put(sections[tag], "details"), line = put(entry, "summary");
    put(line, "b", method.toUpperCase()); line.append(path + "  "); put(line, "small", operation.description);
    for (const parameter of operation.parameters ?? [])
      put(entry, "div", `${parameter.in} ${parameter.name}: ${parameter.description ?? ""}`);
    const body = operation.requestBody?.content?.["application/json"];
    const examples = body ? (body.example ? [body.example] : Object.values(body.examples ?? {}).map((one) => one.value)) : [null];
    for (const example of examples)
      put(entry, "pre", `curl ${location.origin}${path}` + (example ? `${JSON_SENT} '${shown(example)}'` : ""));
    const table = put(entry, "table");
    for (const [status, response] of Object.entries(operation.responses)) {
      const row = put(table, "tr"), example = response.content?.["application/json"]?.example;
      put(row, "td", status); put(row, "td", response.description);
      if (status === "200" && example) put(put(row, "td"), "pre", shown(example));
    }
  }
}).catch((error) => put(document.body, "p", `/openapi.json cannot be read: ${error}. Is a token asked for?`));
</script>
"""


def page() -> HTMLResponse:
    """The page."""
    return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY})
