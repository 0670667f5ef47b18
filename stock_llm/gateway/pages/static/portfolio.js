// Import by dropping a file: shows what it holds, then keeps it.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const drop = document.getElementById("drop");
  const input = document.getElementById("file");
  const preview = document.getElementById("preview");
  const holdings = document.getElementById("holdings");
  let file = null;

  async function send(action) {
    preview.replaceChildren(pages.element("p", { class: "waiting hint" }, drop.dataset.waiting));
    try {
      const query = new URLSearchParams({ name: file.name });
      const response = await pages.post(`/pages/portfolio/${action}?${query}`, file);
      preview.innerHTML = await response.text();
    } catch (error) {
      preview.replaceChildren(pages.element("p", { class: "problem", role: "alert" }, error.message));
    }
  }

  async function keep() {
    await send("keep");
    file = null;
    input.value = "";
    pages.load(holdings);
  }

  function look(chosen) {
    if (!chosen) return;
    file = chosen;
    send("preview");
  }

  input.addEventListener("change", () => look(input.files[0]));
  preview.addEventListener("click", (event) => {
    if (event.target.closest("[data-keep]")) keep();
    if (event.target.closest("[data-dismiss]")) {
      preview.replaceChildren();
      input.value = "";
      input.focus();
    }
  });
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") look(event.dataTransfer.files[0]);
    });
  }
});
