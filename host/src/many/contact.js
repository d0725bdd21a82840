"use strict";
const all = document.querySelector("main");
const order = document.querySelector("#order");
const failed = document.querySelector("#failed");
order.addEventListener("change", () => {
  const key = order.value.replace("-", "");
  // Scores fall unless the order is turned; the order in which photos were given rises.
  const turned = order.value.startsWith("-") || key === "photo" ? 1 : -1;
  const cards = [...all.children].sort((a, b) => turned * (a.dataset[key] - b.dataset[key]));
  all.append(...cards);
});
failed?.addEventListener("change", () => {
  for (const card of all.children) card.hidden = failed.checked && card.dataset.passed !== "no";
});
