// The picture: which part of it is seen, and where in it a pointer is.

const MOST = 40; // screen px to a px of the picture, at most so many times the whole field

export class Stage {
  constructor(svg, width, height) {
    Object.assign(this, { svg, width, height });
    new ResizeObserver(() => this.#show()).observe(svg);
    this.fit();
  }

  /** The place in the picture, px. */
  at(event) {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return { x: place.x, y: place.y };
  }

  get middle() { return { x: this.x + this.w / 2, y: this.y + this.h / 2 }; }

  /** Picture px that a screen px covers. */
  get px() { return 1 / this.svg.getScreenCTM().a; }

  fit() { this.#see(0, 0, this.width); }

  /** Closer by a factor; what is at the place stays there. */
  zoom(factor, place = this.middle) {
    const w = Math.min(this.width, Math.max(this.width / MOST, this.w / factor));
    const shrunk = w / this.w;
    this.#see(place.x - (place.x - this.x) * shrunk, place.y - (place.y - this.y) * shrunk, w);
  }

  /** So that the picture moves by these screen px. */
  pan(dx, dy) { const px = this.px; this.#see(this.x - dx * px, this.y - dy * px, this.w); }

  /** So that the place is seen. */
  reveal({ x, y }) {
    if (x < this.x || y < this.y || x > this.x + this.w || y > this.y + this.h) this.#see(x - this.w / 2, y - this.h / 2, this.w);
  }

  #see(x, y, w) {
    this.w = w;
    this.h = (w * this.height) / this.width;
    this.x = Math.min(this.width - this.w, Math.max(0, x));
    this.y = Math.min(this.height - this.h, Math.max(0, y));
    this.#show();
  }

  #show() {
    this.svg.setAttribute("viewBox", `${this.x} ${this.y} ${this.w} ${this.h}`);
    if (this.svg.getScreenCTM()?.a) this.svg.style.setProperty("--px", this.px);
  }
}

/** An element of SVG with these attributes, put into another. */
export function draw(into, name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  into.append(made);
  return made;
}
