// One image: keys, modes and corrections. The server renders; this exchanges what it sends.
import { Brush } from "./brush.js";
import { calmly, listen } from "./live.js";
import { MODES } from "./modes.js";
import { draw, Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const main = $("main"), svg = $("stage"), sketch = $("sketch"), contours = $("contours");
const image = Number(main.dataset.image);
const stage = new Stage(svg, Number(main.dataset.width), Number(main.dataset.height));
const brush = new Brush(sketch);
const RENUMBERED = "The image was analysed again and its cells have new numbers; look again.";
let mode = "look", chosen = null, cross = null, busy = Promise.resolve(true);

const page = {
  first: null,
  choose(cell) {
    chosen = cell;
    for (const one of document.querySelectorAll(".chosen")) one.classList.remove("chosen");
    if (cell === null) return;
    contours.querySelector(`[data-cell="${cell}"]`)?.classList.add("chosen");
    const row = document.querySelector(`[data-row="${cell}"]`);
    row?.classList.add("chosen");
    row?.scrollIntoView({ block: "nearest" });
  },
  needs(cell) {
    if (cell === null) page.say("There is no outline of a cell at this place.", true);
    return cell !== null;
  },
  remember(first, place) {
    page.first = first;
    draw(sketch, "circle", { class: "point", cx: place.x, cy: place.y, r: 5 * stage.px });
  },
  forget() {
    page.first = null;
    for (const one of sketch.querySelectorAll(".point")) one.remove();
    page.hint(MODES[mode].hint);
  },
  hint(text) { $("hint").textContent = text; },
  say(text, refused = false) {
    $("words").textContent = text;
    $("words").classList.toggle("refused", refused);
  },
  /** Resolves to whether it was written. Corrections go one after the other. */
  send(kind, detail = {}, why = null) {
    const meant = { analysis: analysis(), news }, typed = why === null ? $("why").value : "";
    if (typed) $("why").value = ""; // what is typed from here on is of the next one
    busy = busy.then(() => sent(kind, detail, why ?? typed, meant)).then((written) => {
      if (!written && typed && !$("why").value) $("why").value = typed;
      return written;
    });
    return busy;
  },
};

/** How often something came upon the page that was not done here: what is said of the whole is said of what was seen. */
let news = 0;
const OF_THE_WHOLE = ["accept", "withdraw"];

/** Whose cells are shown: their numbers have no meaning in another analysis. */
const analysis = () => main.dataset.version.split("-")[1];

async function sent(kind, detail, why, meant) {
  if (meant.analysis !== analysis()) { page.say(`Nothing was written. ${RENUMBERED}`, true); return false; }
  if (OF_THE_WHOLE.includes(kind) && meant.news !== news) {
    page.say("Nothing was written: the image was changed meanwhile; look again.", true);
    return false;
  }
  const told = { kind, detail, why, who: $("who").value, seen: main.dataset.version };
  const headers = { "content-type": "application/json", "x-csrf-token": document.querySelector("meta[name=csrf]").content };
  try {
    const answer = await fetch(`/images/${image}/corrections`, { method: "POST", headers, body: JSON.stringify(told) });
    if (!answer.ok) { page.say(await answer.text(), true); return false; }
    const parts = await answer.json();
    exchange(parts, parts.written ? 1 : 0);
    page.say(parts.written ? parts.words : `Nothing was written: ${parts.words}`, !parts.written);
    return parts.written;
  } catch (failure) {
    if (!(failure instanceof TypeError)) throw failure;
    page.say("The station does not answer; nothing was written.", true);
    return false;
  }
}

/** `own`: how many of the corrections that came with it were made here. */
function exchange(parts, own = 0) {
  const [number, , newest] = main.dataset.version.split("-"), [later, , newer] = parts.version.split("-");
  if (Number(later) !== Number(number) + own || newer !== newest) news += 1;
  main.dataset.number = parts.number;
  if (parts.version === main.dataset.version) return;
  const before = analysis();
  main.dataset.version = parts.version;
  const renumbered = before !== analysis();
  if (renumbered) dropNumbers();
  const removing = document.activeElement.dataset?.remove, kept = renumbered ? [] : ticked();
  for (const [id, html] of Object.entries(parts.html)) $(id).innerHTML = html;
  for (const one of document.querySelectorAll("[data-pick]")) one.checked = kept.includes(Number(one.dataset.pick));
  settle();
  if (removing) (document.querySelector(`[data-remove="${removing}"]`) ?? $("cells").querySelector("[data-remove]") ?? svg).focus();
}

/** Nothing that was meant for a cell may come to another one that has its number now. */
function dropNumbers() {
  brush.discard();
  brush.paintOn(null);
  page.forget();
  page.choose(null);
  page.say(RENUMBERED, true);
}

/** What depends on the cells that there are. */
function settle() {
  for (const one of document.querySelectorAll("[data-scripted]")) one.hidden = false;
  const cells = [...contours.querySelectorAll("[data-cell]")].map((one) => Number(one.dataset.cell));
  brush.offer(cells);
  page.choose(cells.includes(chosen) ? chosen : null);
  tick();
}

const ticked = () => [...document.querySelectorAll("[data-pick]:checked")].map((one) => Number(one.dataset.pick));
function tick() { $("merge-picked").disabled = ticked().length < 2; }

/** Strokes that were painted are neither sent nor dropped without a word. */
function unsent() {
  if (brush.strokes.length) page.say("What was painted is not applied yet: Apply (Enter) or Discard (Esc) it first.", true);
  return brush.strokes.length > 0;
}

function setMode(wanted) {
  if (wanted !== mode && unsent()) return;
  mode = wanted;
  main.dataset.mode = mode;
  page.forget();
  brush.discard();
  if (mode === "repaint") brush.paintOn(chosen);
  uncross();
  tip(null);
  $("brush").hidden = mode !== "repaint";
  for (const one of document.querySelectorAll("[data-mode]")) if (one !== main) one.setAttribute("aria-pressed", one.dataset.mode === mode);
}

// The pointer

const cellAt = (target) => { const own = target.closest?.("[data-cell]"); return own ? Number(own.dataset.cell) : null; };
const cellBelow = ({ x, y }) => {
  const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
  return cellAt(document.elementFromPoint(at.x, at.y) ?? svg);
};
let drag = null;

svg.addEventListener("pointerdown", (event) => {
  if (event.button > 1) return;
  const paints = mode === "repaint" && event.button === 0;
  drag = { x: event.clientX, y: event.clientY, moved: false, paints: paints && paintable(cellAt(event.target)), cell: cellAt(event.target), button: event.button };
  svg.setPointerCapture(event.pointerId);
  if (drag.paints) brush.begin(stage.at(event));
});

svg.addEventListener("pointermove", (event) => {
  if (mode === "repaint") tip(stage.at(event));
  if (!drag) return;
  if (drag.paints) { for (const one of event.getCoalescedEvents?.() ?? [event]) brush.move(stage.at(one)); return; }
  if (mode === "repaint" && drag.button === 0) return;
  drag.moved ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 4;
  if (!drag.moved) return;
  stage.pan(event.clientX - drag.x, event.clientY - drag.y);
  Object.assign(drag, { x: event.clientX, y: event.clientY });
});

svg.addEventListener("pointerup", (event) => {
  const done = drag;
  drag = null;
  if (done && !done.moved && !done.paints && done.button === 0) MODES[mode].click(page, stage.at(event), done.cell);
});
svg.addEventListener("pointercancel", () => { drag = null; });
svg.addEventListener("pointerleave", () => tip(null));
svg.addEventListener("wheel", (event) => {
  event.preventDefault();
  stage.zoom(Math.exp(-event.deltaY / 400), stage.at(event));
}, { passive: false });

/** A first click on a cell chooses it; after that the brush paints. */
function paintable(cell) {
  if (brush.cell === null && cell !== null && !brush.strokes.length && brush.value !== 0) {
    page.choose(cell);
    brush.paintOn(cell);
    page.hint(`Paint over cell ${cell}.`);
    return false;
  }
  return true;
}

function tip(place) {
  const old = sketch.querySelector(".tip");
  if (!place) { old?.remove(); return; }
  const circle = old ?? draw(sketch, "circle", { class: "tip" });
  for (const [name, value] of Object.entries({ cx: place.x, cy: place.y, r: brush.radius })) circle.setAttribute(name, value);
}

// The cross: a pointer for the keyboard

function moveCross(dx, dy) {
  const step = (x, most) => Math.min(most - 0.5, Math.max(0.5, x));
  const from = cross ?? stage.middle;
  cross = { x: step(from.x + dx, stage.width), y: step(from.y + dy, stage.height) };
  stage.reveal(cross);
  const arm = 12 * stage.px;
  sketch.querySelector(".cross")?.remove();
  draw(sketch, "path", { class: "cross", d: `M${cross.x - arm},${cross.y}h${2 * arm}M${cross.x},${cross.y - arm}v${2 * arm}` });
}
function uncross() { cross = null; sketch.querySelector(".cross")?.remove(); }

function clickCross() {
  const cell = cellBelow(cross);
  if (mode !== "repaint") MODES[mode].click(page, cross, cell);
  else if (paintable(cell)) brush.begin(cross);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onStage(event) {
  if (document.activeElement !== svg || mode === "look") return false;
  if (ARROWS[event.key]) {
    const size = event.shiftKey ? 1 : Math.max(1, 12 * stage.px);
    moveCross(...ARROWS[event.key].map((way) => way * size));
    return true;
  }
  if (cross && (event.key === " " || (event.key === "Enter" && mode !== "repaint"))) { clickCross(); return true; }
  return false;
}

// Keys and buttons

function toggleContours() {
  const off = contours.classList.toggle("off");
  sessionStorage.setItem("contours", off ? "off" : "on");
  $("show-contours").setAttribute("aria-pressed", !off);
}

function escape() {
  if (brush.strokes.length) brush.discard();
  else if (page.first) page.forget();
  else setMode("look");
}

async function apply() {
  const strokes = brush.take(), meant = analysis();
  if (strokes.length && !await page.send("repaint", { strokes }) && meant === analysis()) brush.giveBack(strokes);
}

/** To a neighbour, once what was said of this image is written; a refusal is there to be read, and the same key again goes on. */
async function go(id) {
  if (unsent()) return;
  const written = await busy;
  busy = Promise.resolve(true);
  if (written) $(id)?.click();
  else $("words").append(" The same key again goes on.");
}

const ACTIONS = {
  n: () => go("older"), ArrowRight: () => go("older"), p: () => go("newer"), ArrowLeft: () => go("newer"),
  a: () => page.send("accept"), f: () => page.send("flag"), u: () => page.send("withdraw"), r: () => $("rejecting").showModal(),
  c: toggleContours, "+": () => stage.zoom(1.4), "=": () => stage.zoom(1.4), "-": () => stage.zoom(1 / 1.4), 0: () => stage.fit(),
  "[": () => brush.grow(-1), "]": () => brush.grow(1), "?": () => $("keys").showModal(), Escape: escape,
};
Object.keys(MODES).forEach((name, place) => { ACTIONS[place + 1] = () => setMode(name); });

addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches("input:not([type=checkbox], [type=radio]), select, textarea");
  if (typing && event.key !== "Escape") return;
  if (event.target.type === "radio" && ARROWS[event.key]) return; // to the next colour
  if (drag?.paints && ["Enter", "Escape"].includes(event.key)) return; // half a stroke is neither sent nor dropped
  if (onStage(event)) { event.preventDefault(); return; }
  if (event.key === "Enter" && mode === "repaint" && !event.target.matches("button, a")) { apply(); return; }
  const action = ACTIONS[event.key];
  if (!action || (event.shiftKey && ARROWS[event.key])) return;
  event.preventDefault();
  if (!event.repeat || "+-=[]".includes(event.key)) action();
});

for (const one of document.querySelectorAll("button[data-mode]")) one.addEventListener("click", () => setMode(one.dataset.mode));
const buttons = { "show-contours": "c", smaller: "-", larger: "+", fit: 0, accept: "a", flag: "f", reject: "r", withdraw: "u", help: "?" };
for (const [id, key] of Object.entries(buttons)) $(id).addEventListener("click", () => ACTIONS[key]());
addEventListener("beforeunload", (event) => { if (brush.strokes.length) event.preventDefault(); });
$("apply").addEventListener("click", apply);
$("discard").addEventListener("click", () => brush.discard());
$("merge-picked").addEventListener("click", () => page.send("merge", { cell_ids: ticked() }));
$("rejecting").addEventListener("close", () => {
  const why = $("reject-why").value;
  if ($("rejecting").returnValue === "reject") page.send("reject", {}, why);
  $("rejecting").returnValue = $("reject-why").value = "";
});
$("cells").addEventListener("click", (event) => {
  const { remove, pick } = event.target.dataset;
  if (remove) page.send("remove", { cell_id: Number(remove) });
  else if (pick) tick();
  else if (event.target.closest("[data-row]")) page.choose(Number(event.target.closest("[data-row]").dataset.row));
});
$("painted").addEventListener("change", () => page.choose(brush.cell));

// Who sits here is remembered by this browser

$("who").value = localStorage.getItem("who") || $("who").value;
$("who").addEventListener("change", () => localStorage.setItem("who", $("who").value));

if (sessionStorage.getItem("contours") === "off") toggleContours();
brush.suit(Number(main.dataset.diameter));
setMode("look");
settle();

const picture = $("picture");
if (picture) {
  const probe = new Image();
  probe.addEventListener("error", () => { $("gone").hidden = false; });
  probe.src = picture.getAttribute("href");
}

const renew = calmly(async () => {
  await busy;
  const seen = Number(main.dataset.number);
  const answer = await fetch(`/images/${image}/news?seen=${seen}`);
  if (!answer.ok) return;
  const parts = await answer.json();
  if (seen !== Number(main.dataset.number)) return; // corrected here meanwhile
  if (parts.words) page.say(parts.words);
  exchange(parts);
}, 300);
listen((images) => { if (images === null || images.includes(image)) renew(); });
