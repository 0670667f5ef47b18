// What all pages share: requests that change something, and parts of a page that are fetched later.
"use strict";

const pages = {
  csrf: document.querySelector("meta[name=csrf-token]").content,

  /** Fetches; an answer with an error becomes an Error with its text. */
  async fetch(url, options = {}) {
    const response = await fetch(url, options);
    if (response.redirected && new URL(response.url).pathname === "/pages/login") location.assign(response.url); // the session is over
    if (response.ok) return response;
    let text = `${response.status}`;
    try {
      text = (await response.json()).error || text;
    } catch { /* no JSON: the status has to do */ }
    throw new Error(text);
  },

  /** Sends something that changes what the gateway holds; `body` is a value or a file. */
  post(url, body, options = {}) {
    const isFile = body instanceof Blob;
    return pages.fetch(url, {
      method: "POST",
      body: isFile ? body : JSON.stringify(body ?? {}),
      ...options,
      headers: { "content-type": isFile ? "application/octet-stream" : "application/json", "x-csrf-token": pages.csrf, ...options.headers },
    });
  },

  /** A new element with its text and children. */
  element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  },

  /** A sentence with its `{names}` filled in. */
  fill(text, values) {
    return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
  },

  /** A colour of the theme that is shown. */
  colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  },

  /** Fills an element with data-load with the HTML of that address, which the gateway rendered. */
  async load(place) {
    place.setAttribute("aria-busy", "true");
    try {
      const response = await pages.fetch(place.dataset.load, { headers: { accept: "text/html" } });
      place.innerHTML = await response.text();
      place.dispatchEvent(new CustomEvent("loaded", { bubbles: true }));
    } catch (error) {
      place.replaceChildren(pages.element("p", { class: "problem", role: "alert" }, error.message));
    }
    place.removeAttribute("aria-busy");
  },
};

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-load]").forEach(pages.load));
