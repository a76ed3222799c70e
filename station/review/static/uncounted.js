// An image without a count: the keys that lead on, and the count when it comes.
import { listen } from "./live.js";

const $ = (id) => document.getElementById(id);
const KEYS = { n: "older", ArrowRight: "older", p: "newer", ArrowLeft: "newer" };

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  if (KEYS[event.key]) $(KEYS[event.key])?.click();
});

const image = Number($("main").dataset.image);
listen(async (images) => {
  if (images?.includes(image)) location.reload();
  else if (images === null && (await (await fetch(location.href)).text()).includes("data-version")) location.reload(); // counted before this listened
});
