// One picture: shown, with boxes and landmarks drawn over it, and its faces' cards beside it. Never asks the service.

import { counted, make, problem } from "./dom.js";
import { card } from "./face.js";

const TEAL = "#2dd4bf";
const LIT = "#facc15";
const SHADE = "rgba(6, 24, 21, 0.82)";

export class Picture {
  constructor(file, onCompare) {
    this.name = file.name || "pasted picture";
    this.faces = [];
    this.cards = [];
    this.lit = null;
    this.onCompare = onCompare;
    this.url = URL.createObjectURL(file);
    this.build();
  }

  build() {
    this.image = make("img", { src: this.url, alt: this.name });
    this.canvas = make("canvas", {});
    this.canvas.setAttribute("aria-hidden", "true"); // the cards say in words what it shows
    this.frame = make("div", { class: "frame" }, this.image, this.canvas);
    this.caption = make("figcaption", {}, make("b", {}, this.name), make("span", {}, "looking …"));
    this.list = make("div", { class: "faces" });
    this.element = make(
      "section",
      { class: "picture working", "aria-label": this.name, "aria-busy": "true" },
      make("figure", { class: "stage" }, this.frame, this.caption),
      this.list,
    );
    this.image.addEventListener("load", () => this.draw());
    this.image.addEventListener("error", () => this.showWithoutPicture());
    this.canvas.addEventListener("click", (event) => this.pick(event));
    this.canvas.addEventListener("pointermove", (event) => this.light(this.at(event)));
    this.canvas.addEventListener("pointerleave", () => this.light(null));
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.frame);
  }

  answer(body) {
    const [result] = body.images;
    this.done();
    if (result.error) return this.fail(result.error);
    this.size = [result.width, result.height];
    this.faces = result.faces;
    this.caption.lastChild.textContent = `${result.width} × ${result.height} · ${Math.round(body.timings_ms.total)} ms`;
    this.cards = result.faces.map((face, index) => this.cardOf(face, index, body.model));
    this.list.replaceChildren(...this.cards);
    if (!this.cards.length) this.list.append(make("p", { class: "note" }, "No face was found on this picture."));
    if (!this.image.isConnected) this.frame.style.aspectRatio = `${result.width} / ${result.height}`;
    return this.draw();
  }

  fail(body) {
    this.done();
    this.caption.lastChild.textContent = "not analysed";
    this.list.replaceChildren(problem(body));
  }

  done() {
    this.element.classList.remove("working");
    this.element.setAttribute("aria-busy", "false");
  }

  cardOf(face, index, model) {
    const made = card(face, index + 1, (button) => this.onCompare(button, { face, model, name: `Face ${index + 1} of ${this.name}` }));
    made.addEventListener("pointerenter", () => this.light(index));
    made.addEventListener("pointerleave", () => this.light(null));
    made.addEventListener("focusin", () => this.light(index));
    return made;
  }

  // A TIFF, say, which the service reads and most browsers do not: boxes on an empty ground.
  showWithoutPicture() {
    this.image.remove();
    this.frame.title = "This browser cannot show this picture; the boxes are where the faces are.";
    if (this.size) this.frame.style.aspectRatio = `${this.size[0]} / ${this.size[1]}`;
    this.draw();
  }

  light(index) {
    if (index === this.lit) return;
    this.lit = index;
    this.cards.forEach((made, other) => made.classList.toggle("lit", other === index));
    this.draw();
  }

  at(event) {
    const x = event.offsetX / this.scale;
    const y = event.offsetY / this.scale;
    const found = this.faces.findIndex(({ box: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2);
    return found < 0 ? null : found;
  }

  pick(event) {
    const index = this.at(event);
    if (index !== null) this.cards[index].scrollIntoView({ behavior: "smooth", block: "nearest" });
  }

  draw() {
    if (!this.size) return;
    const frame = this.frame.getBoundingClientRect();
    this.scale = Math.min(frame.width / this.size[0], frame.height / this.size[1]);
    const [width, height] = this.size.map((side) => side * this.scale);
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    Object.assign(this.canvas.style, {
      width: `${width}px`,
      height: `${height}px`,
      left: `${(frame.width - width) / 2}px`,
      top: `${(frame.height - height) / 2}px`,
    });
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    this.faces.forEach((face, index) => this.drawFace(pen, face, index));
  }

  drawFace(pen, { box, landmarks }, index) {
    const lit = index === this.lit;
    const [x1, y1, x2, y2] = box.map((value) => value * this.scale);
    for (const [colour, width] of [[SHADE, lit ? 6 : 4], [lit ? LIT : TEAL, lit ? 3 : 2]]) {
      Object.assign(pen, { strokeStyle: colour, lineWidth: width });
      pen.beginPath();
      pen.roundRect(x1, y1, x2 - x1, y2 - y1, Math.min(8, (x2 - x1) / 6));
      pen.stroke();
    }
    const radius = Math.max(1.5, Math.min(4, (x2 - x1) / 26));
    for (const [x, y] of Object.values(landmarks ?? {})) {
      Object.assign(pen, { fillStyle: lit ? LIT : TEAL, strokeStyle: SHADE, lineWidth: 1 });
      pen.beginPath();
      pen.arc(x * this.scale, y * this.scale, radius, 0, 7);
      pen.fill();
      pen.stroke();
    }
    this.drawNumber(pen, String(index + 1), x1, y1, lit);
  }

  drawNumber(pen, text, x, y, lit) {
    pen.font = "600 13px system-ui, sans-serif";
    const width = pen.measureText(text).width + 12;
    const top = Math.max(y - 22, 0);
    pen.fillStyle = lit ? LIT : TEAL;
    pen.beginPath();
    pen.roundRect(x - 1, top, width, 20, 6);
    pen.fill();
    pen.fillStyle = "#06201c";
    pen.textBaseline = "middle";
    pen.fillText(text, x + 5, top + 10.5);
  }

  remove() {
    this.observer.disconnect();
    this.element.remove();
    URL.revokeObjectURL(this.url);
  }

  get words() {
    return `${counted(this.faces.length, "face")} in ${this.name}`;
  }
}
