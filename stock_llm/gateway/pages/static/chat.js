// The chat: questions, streamed answers, opinions on them, kept conversations, the chart.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const root = document.getElementById("chat");
  const part = (id) => document.getElementById(id);
  const say = (name, values = {}) => pages.fill(root.dataset[`text${name[0].toUpperCase()}${name.slice(1)}`] ?? name, values);
  const MAX_MESSAGES = 39;
  let conversation = newId();
  let messages = [];
  let running = null;
  let removeChart = null;
  let charted = "";

  function newId() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // Text of an answer: paragraphs, bullets and code; nothing in it is ever HTML.

  function render(text, place, marks = []) {
    place.replaceChildren();
    for (const [index, block] of text.split(/^```[^\n]*\n?/m).entries()) {
      if (index % 2) {
        place.append(pages.element("pre", {}, pages.element("code", {}, block)));
        continue;
      }
      let list = null;
      for (const line of block.split("\n")) {
        const bullet = /^\s*[-*•]\s+(.*)$/.exec(line);
        if (bullet) {
          if (!list) place.append((list = pages.element("ul")));
          list.append(pages.element("li", {}, ...sentence(bullet[1], marks)));
          continue;
        }
        list = null;
        if (!line.trim()) continue;
        const marked = marks.some((each) => each.sentence && line.includes(each.sentence));
        const label = !marked && /^(\p{L}[\p{L}\p{M} ]{1,24}):(\s.*|)$/u.exec(line);
        place.append(pages.element("p", {}, ...(label ? [pages.element("strong", {}, `${label[1]}:`), ...sentence(label[2], marks)] : sentence(line, marks))));
      }
    }
  }

  /** A line of text; where it is a sentence that was found false, marked, with the true one. */
  function sentence(text, marks) {
    const mark = marks.find((each) => each.sentence && text.includes(each.sentence));
    if (!mark) return [text];
    const [before, after] = text.split(mark.sentence, 2);
    const truth = mark.true_sentence ? [pages.element("span", { class: "truth" }, mark.true_sentence)] : [];
    return [before, pages.element("span", { class: "false" }, mark.sentence), ...sentence(after, marks), ...truth];
  }

  // One turn: the question, the answer, who gave it, and the opinion on it.

  function addTurn(question) {
    part("welcome").hidden = true;
    const text = pages.element("div", { class: "text" });
    const footer = pages.element("footer", { hidden: true });
    const opinion = pages.element("div", { hidden: true });
    part("turns").append(pages.element("li", {},
      pages.element("div", { class: "asked" }, pages.element("span", { class: "sr" }, `${say("you")}: `), question),
      pages.element("article", { class: "answered", "aria-label": say("answer") }, text, footer, opinion)));
    return { text, footer, opinion };
  }

  function finishTurn(turn, answer, metadata) {
    const { grounding, check } = metadata;
    render(answer, turn.text, check?.false_sentences ?? []);
    const total = metadata.milliseconds?.total;
    const facts = [
      say("by", { provider: metadata.provider, model: metadata.model }),
      metadata.rule,
      metadata.cached ? say("cached") : say("cost", { cost: Number(metadata.cost_usd).toFixed(4) }),
      total === undefined ? null : say("time", { seconds: (total / 1000).toFixed(1) }),
    ];
    turn.footer.replaceChildren(pages.element("p", {}, facts.filter(Boolean).join(" · ")));
    if (metadata.fallback?.length) turn.footer.append(pages.element("p", {}, say("fallback", { reasons: metadata.fallback.join("; ") })));
    const notes = (metadata.notes ?? []).filter((note) => !note.startsWith("estimated:"));
    for (const note of notes) turn.footer.append(pages.element("p", {}, note));
    if (check?.false_sentences?.length) turn.footer.append(pages.element("p", { class: "problem" }, say("false", { count: check.false_sentences.length })));
    if (check?.invented?.length) turn.footer.append(pages.element("p", { class: "problem" }, say("invented", { numbers: check.invented.join(", ") })));
    if (grounding) {
      const words = say(grounding.old ? "groundedOld" : "grounded", { day: grounding.as_of });
      turn.footer.append(pages.element("details", {}, pages.element("summary", {}, words), pages.element("pre", {}, grounding.numbers)));
    }
    turn.footer.hidden = false;
    turn.opinion.replaceChildren(...opinionOn(answer, metadata.response_id));
    turn.opinion.hidden = false;
  }

  function opinionOn(answer, responseId) {
    const given = { response_id: responseId };
    const status = pages.element("p", { class: "status", role: "status" });
    const thumbs = ["up", "down"].map((thumb) => pages.element("button", {
      type: "button", "aria-pressed": "false", "aria-label": say(thumb), title: say(thumb),
      onclick: () => { given.thumb = thumb; send(); },
    }, thumb === "up" ? "👍" : "👎"));
    const name = `stars-${newId()}`;
    const stars = [1, 2, 3, 4, 5].map((count) => {
      const input = pages.element("input", { type: "radio", name, value: count, "aria-label": say("star", { n: count }), onchange: () => { given.rating = count; send(); } });
      return pages.element("label", { title: say("star", { n: count }) }, input, "★");
    });
    const box = pages.element("textarea", { rows: 6, "aria-label": say("correction") });
    const form = pages.element("form", { class: "correction", hidden: true, onsubmit: (event) => {
      event.preventDefault();
      given.correction = box.value;
      send().then((sent) => { form.hidden = sent; });
    } }, box, pages.element("div", {},
      pages.element("button", { class: "primary" }, say("save")),
      pages.element("button", { type: "button", onclick: () => { form.hidden = true; correct.focus(); } }, say("cancel"))));
    const correct = pages.element("button", { type: "button", class: "quiet", onclick: () => {
      if (!given.correction) box.value = answer;
      form.hidden = false;
      box.focus();
    } }, say("correct"));

    async function send() {
      for (const [index, thumb] of ["up", "down"].entries()) thumbs[index].setAttribute("aria-pressed", String(given.thumb === thumb));
      for (const [index, star] of stars.entries()) star.classList.toggle("on", index < (given.rating ?? 0));
      try {
        const kept = await (await pages.post("/pages/chat/feedback", given)).json();
        status.className = "status done";
        status.textContent = say(kept.unused >= kept.needed ? "enough" : kept.new ? "kept" : "known", kept);
        return true;
      } catch (error) {
        status.className = "status problem";
        status.textContent = error.message;
        return false;
      }
    }

    const group = pages.element("fieldset", { class: "stars" }, pages.element("legend", { class: "sr" }, say("stars")), ...stars);
    return [pages.element("div", { class: "opinion" }, ...thumbs, group, correct), form, status];
  }

  // Asking

  async function ask(question) {
    messages.push({ role: "user", content: question });
    const turn = addTurn(question);
    turn.text.append(pages.element("span", { class: "waiting" }));
    turn.text.scrollIntoView({ block: "nearest" });
    showChart(question);
    running = new AbortController();
    part("send").textContent = say("stop");
    let answer = "", metadata = null, problem = "";
    try {
      const body = { conversation, messages: messages.slice(-MAX_MESSAGES), model: part("model").value };
      const response = await pages.post("/pages/chat/answer", body, { signal: running.signal });
      for await (const line of lines(response.body)) {
        if (line.text) {
          answer += line.text;
          render(answer, turn.text);
          scrollAlong();
        }
        metadata = line.end ?? metadata;
        problem = line.error ?? problem;
      }
    } catch (error) {
      problem = error.name === "AbortError" ? " " : error instanceof TypeError ? say("offline") : error.message;
    }
    running = null;
    part("send").textContent = say("send");
    if (metadata) {
      if (typeof metadata.text === "string") answer = metadata.text;
      messages.push({ role: "assistant", content: answer });
      finishTurn(turn, answer, metadata);
      setTimeout(list, 700);
    } else {
      messages.pop();
      turn.text.querySelector(".waiting")?.remove();
      if (problem.trim()) turn.text.append(pages.element("p", { class: "problem", role: "alert" }, answer ? say("broken", { problem }) : problem));
      part("question").value ||= question;
    }
    scrollAlong();
  }

  /** The lines of JSON of a stream, as they come. */
  async function* lines(stream) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      const parts = (rest + (value ?? "")).split("\n");
      rest = parts.pop();
      for (const line of parts) if (line.trim()) yield JSON.parse(line);
      if (done) return;
    }
  }

  function scrollAlong() {
    const bottom = document.documentElement.scrollHeight - window.innerHeight - window.scrollY;
    if (bottom < 320) window.scrollTo({ top: document.documentElement.scrollHeight });
  }

  part("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) return running.abort();
    const question = part("question").value.trim();
    if (!question) return;
    part("question").value = "";
    grow();
    ask(question);
  });
  part("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!running) part("ask").requestSubmit();
    }
  });
  function grow() {
    const box = part("question");
    box.rows = Math.min(8, Math.max(1, box.value.split("\n").length));
  }
  part("question").addEventListener("input", grow);

  // The chart

  async function showChart(question) {
    const query = new URLSearchParams({ question });
    let data = null;
    try {
      data = await (await pages.fetch(`/pages/chat/chart?${query}`)).json();
    } catch { /* a chat without a chart */ }
    if (!data?.candles || data.symbol === charted) return;
    hideChart();
    charted = data.symbol;
    const names = { support: say("support"), resistance: say("resistance"), cost: say("position") };
    const levels = data.levels.map((level) => `${names[level.kind]} ${level.price.toFixed(2)}`).join(" · ");
    part("stock-name").textContent = data.symbol;
    part("stock-levels").textContent = levels;
    const [first, last] = [data.candles[0], data.candles.at(-1)];
    part("candles").setAttribute("aria-label", say("chart", { symbol: data.symbol, from: first[0], to: last[0], close: last[4].toFixed(2), levels }));
    part("stock").hidden = false;
    removeChart = drawCandles(part("candles"), data, names);
  }
  function hideChart() {
    removeChart?.();
    removeChart = null;
    charted = "";
    part("stock").hidden = true;
  }
  part("stock-close").addEventListener("click", hideChart);

  // Conversations

  async function list() {
    if (!part("list")) return;
    const query = new URLSearchParams({ search: part("search").value });
    let found = [];
    try {
      found = await (await pages.fetch(`/pages/chat/conversations?${query}`)).json();
    } catch (error) {
      part("list").replaceChildren(pages.element("li", { class: "problem" }, error.message));
      return;
    }
    part("list").replaceChildren(...found.map((each) => pages.element("li", { class: each.id === conversation ? "open" : "" },
      pages.element("button", { type: "button", class: "name", title: each.title, onclick: () => open(each.id) }, pages.element("span", {}, each.title)),
      pages.element("button", { type: "button", class: "remove", "aria-label": `${say("delete")}: ${each.title}`, title: say("delete"), onclick: () => remove(each.id) }, "×"))));
    if (!found.length) part("list").append(pages.element("li", { class: "hint" }, say("none")));
  }

  function start() {
    running?.abort();
    conversation = newId();
    messages = [];
    part("turns").replaceChildren();
    part("welcome").hidden = false;
    hideChart();
    history.replaceState(null, "", "/");
    part("question").focus();
    list();
  }

  async function open(id) {
    const found = await (await pages.fetch(`/pages/chat/conversations/${encodeURIComponent(id)}`)).json();
    start();
    conversation = id;
    for (const turn of found.turns) {
      messages.push({ role: "user", content: turn.question }, { role: "assistant", content: turn.answer });
      finishTurn(addTurn(turn.question), turn.answer, turn.metadata);
    }
    history.replaceState(null, "", `/?conversation=${encodeURIComponent(id)}`);
    showChart(found.turns.at(-1).question);
    list();
  }

  async function remove(id) {
    if (!confirm(say("sure"))) return;
    await pages.post(`/pages/chat/conversations/${encodeURIComponent(id)}/delete`);
    if (id === conversation) start();
    else list();
  }

  part("new").addEventListener("click", start);
  let typing = 0;
  part("search")?.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(list, 200);
  });
  if (window.matchMedia("(max-width: 60rem)").matches) part("history").open = false;

  async function suggest() {
    const texts = await (await pages.fetch("/pages/chat/suggestions")).json();
    if (!Array.isArray(texts)) {
      part("suggestions").append(pages.element("li", { class: "notice" }, texts.problem));
      return;
    }
    part("suggestions").append(...texts.map((text) => pages.element("li", {},
      pages.element("button", { type: "button", onclick: () => ask(text) }, text))));
  }

  list();
  suggest().catch(() => {});
  const wanted = new URLSearchParams(location.search).get("conversation");
  if (wanted) open(wanted).catch(() => {});
});
