// The card of one face: who it seems to be in words, then the numbers. Never asks the service for anything.

import { bar, capital, make, percent, plain } from "./dom.js";

const NUM_TOP = 6;
const SAID_BY_GENDER = new Set(["male"]); // which says it better, where a pack has that task

export function card(face, number, onCompare) {
  const element = make("article", { class: "face" });
  const title = make("h3", {}, make("span", { class: "number" }, String(number)), headline(face, number));
  element.setAttribute("aria-label", `Face ${number}`);
  element.append(make("div", { class: "face-head" }, crop(face, number), make("div", {}, title, details(face)), compareButton(face, number, onCompare)));
  const parts = [expression(face), attributes(face), race(face), quality(face)];
  element.append(...parts.filter((part) => part !== null));
  return element;
}

export function cropSource(face) {
  return face.crop ? `data:image/jpeg;base64,${face.crop}` : null;
}

function crop(face, number) {
  const source = cropSource(face);
  if (!source) return make("span", { class: "face-blank" });
  return make("img", { src: source, alt: `Face ${number}, cut out and turned upright`, width: 84, height: 84 });
}

function headline(face, number) {
  const who = face.gender ? capital(face.gender.label) : `Face ${number}`;
  return face.age ? `${who}, about ${Math.round(face.age.years)}` : who;
}

function details(face) {
  const words = [];
  if (face.gender) words.push(`${face.gender.label} ${percent(face.gender.probability)}`);
  if (face.score !== null && face.score !== undefined) words.push(`detected ${percent(face.score)}`);
  return make("p", {}, words.join(" · "));
}

function compareButton(face, number, onCompare) {
  if (!face.embedding) return null;
  const button = make("button", { class: "button", type: "button", "aria-pressed": "false" }, "Compare");
  button.setAttribute("aria-label", `Compare face ${number} with another`);
  button.addEventListener("click", () => onCompare(button));
  return button;
}

function expression(face) {
  if (!face.expression) return null;
  const { label, probabilities } = face.expression;
  const bars = Object.entries(probabilities).map(([name, share]) => bar(capital(name), share, name === label));
  return make("section", {}, make("h4", {}, "Expression"), make("ul", { class: "bars" }, ...bars));
}

function attributes(face) {
  if (!face.attributes) return null;
  const ranked = Object.entries(face.attributes).sort((a, b) => b[1] - a[1]);
  const told = face.gender ? SAID_BY_GENDER : new Set();
  const top = ranked.filter(([name, share]) => share >= 0.5 && !told.has(name)).slice(0, NUM_TOP);
  const chips = top.map(([name, share]) => make("li", {}, `${plain(name)} `, make("b", {}, percent(share))));
  const all = ranked.map(([name, share]) => bar(capital(plain(name)), share, share >= 0.5));
  return make(
    "section",
    {},
    make("h4", {}, "Attributes"),
    chips.length ? make("ul", { class: "chips" }, ...chips) : make("p", { class: "hint" }, "None is likelier than not."),
    make("details", {}, make("summary", {}, `All ${ranked.length}`), make("ul", { class: "bars wide" }, ...all)),
  );
}

function race(face) {
  if (!face.race) return null;
  const bars = Object.entries(face.race.probabilities).map(([name, share]) => bar(capital(name), share, name === face.race.label));
  return make("section", {}, make("h4", {}, "Race, as labelled in the training data"), make("ul", { class: "bars" }, ...bars));
}

function quality(face) {
  if (!face.quality) return null;
  const { sharpness, yaw, pitch, roll, size } = face.quality;
  const degrees = (angle) => `${Math.round(angle)}°`.replace("-", "−");
  const facts = { sharpness: percent(sharpness), yaw: degrees(yaw), pitch: degrees(pitch), roll: degrees(roll), size: `${Math.round(size)} px` };
  const rows = Object.entries(facts).map(([name, value]) => make("div", {}, make("dt", {}, capital(name)), make("dd", {}, value)));
  return make("section", {}, make("h4", {}, "Quality"), make("dl", { class: "facts" }, ...rows));
}
