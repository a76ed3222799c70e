// Repainting: strokes are collected and shown, and sent together when they are applied.
import { draw } from "./stage.js";

const $ = (id) => document.getElementById(id);

export class Brush {
  strokes = [];
  #line = null;

  constructor(sketch) {
    this.sketch = sketch;
    $("radius").addEventListener("input", () => this.#tell());
    this.#tell();
  }

  get radius() { return Number($("radius").value); }
  get value() { return Number(document.querySelector("#brush [name=value]:checked").value); }
  get cell() { return $("painted").value ? Number($("painted").value) : null; }

  /** As large as fits the picture's cells. */
  suit(diameter) {
    $("radius").max = Math.max(8, Math.round(diameter / 2));
    $("radius").value = Math.max(1, Math.round(diameter / 12));
    this.#tell();
  }

  grow(step) { $("radius").value = this.radius + step; this.#tell(); }

  /** The cells that may be painted on. */
  offer(ids) {
    const chosen = $("painted").value;
    $("painted").replaceChildren(new Option("a new cell", ""), ...ids.map((id) => new Option(`cell ${id}`, id)));
    $("painted").value = ids.includes(Number(chosen)) ? chosen : "";
  }

  paintOn(id) { $("painted").value = id ?? ""; }

  begin(place) {
    this.strokes.push({ points: [], radius_px: this.radius, value: this.value, cell_id: this.cell });
    const look = { class: `stroke value-${this.value}`, "stroke-width": 2 * this.radius };
    this.#line = draw(this.sketch, "polyline", look);
    this.move(place);
    this.#tell();
  }

  move({ x, y }) {
    if (!this.strokes.length) return; // another analysis came, and dropped what was being painted
    const { points } = this.strokes.at(-1);
    points.push([round(x - 0.5), round(y - 0.5)]); // masks count from the middle of a pixel
    this.#show(points);
  }

  #show(points) {
    const shown = points.length > 1 ? points : [points[0], [points[0][0] + 0.01, points[0][1]]];
    this.#line.setAttribute("points", shown.map(([a, b]) => `${a + 0.5},${b + 0.5}`).join(" "));
  }

  take() {
    const taken = this.strokes;
    this.discard();
    return taken;
  }

  /** Strokes that could not be sent, before those that were painted meanwhile. */
  giveBack(strokes) {
    const all = [...strokes, ...this.strokes];
    this.discard();
    for (const stroke of all) {
      this.strokes.push(stroke);
      this.#line = draw(this.sketch, "polyline", { class: `stroke value-${stroke.value}`, "stroke-width": 2 * stroke.radius_px });
      this.#show(stroke.points);
    }
    this.#tell();
  }

  discard() {
    this.strokes = [];
    for (const line of this.sketch.querySelectorAll(".stroke")) line.remove();
    this.#tell();
  }

  #tell() {
    $("radius-px").textContent = `${this.radius} px`;
    for (const id of ["apply", "discard"]) $(id).disabled = !this.strokes.length;
  }
}

const round = (value) => Math.round(value * 10) / 10;
