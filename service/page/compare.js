// Comparing two faces by their embeddings: picks up to two, asks the service, says what it said.

import { Problem, verify } from "./api.js";
import { make } from "./dom.js";
import { cropSource } from "./face.js";

const panel = document.getElementById("compare");
let chosen = []; // {button, face, model, name}, two at most
let turn = 0; // an answer that a newer choice has overtaken is dropped

export function toggle(button, choice) {
  const at = chosen.findIndex((other) => other.button === button);
  if (at >= 0) chosen.splice(at, 1)[0].button.setAttribute("aria-pressed", "false");
  else {
    if (chosen.length === 2) chosen.shift().button.setAttribute("aria-pressed", "false");
    chosen.push({ button, ...choice });
    button.setAttribute("aria-pressed", "true");
  }
  show();
}

export function reset() {
  chosen.forEach(({ button }) => button.setAttribute("aria-pressed", "false"));
  chosen = [];
  show();
}

async function show() {
  const mine = ++turn;
  panel.hidden = !chosen.length;
  if (chosen.length < 2) return say("One more face", "Choose “Compare” on another face.");
  say("Comparing …", "");
  try {
    const [a, b] = chosen;
    const answer = await verify(a.face.embedding, b.face.embedding, a.model.embedding_space);
    if (mine === turn) say(...words(answer));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (mine === turn) say(error.body.title, error.body.detail ?? "");
  }
  return undefined;
}

function words({ same, similarity, threshold, fmr }) {
  const measured = `similarity ${similarity.toFixed(3)}`;
  if (same === null) return ["No verdict", `${measured}; this pack states no threshold`];
  const rate = fmr ? `, where ${fmr * 1000} in 1000 strangers would pass` : "";
  return [same ? "Same person" : "Different people", `${measured}; threshold ${threshold.toFixed(3)}${rate}`];
}

function say(title, detail) {
  const thumbs = [0, 1].map((slot) => {
    const source = chosen[slot] && cropSource(chosen[slot].face);
    return source ? make("img", { src: source, alt: chosen[slot].name }) : make("span", { class: "face-blank" });
  });
  const close = make("button", { class: "button quiet", type: "button" }, "Done");
  close.addEventListener("click", reset);
  panel.replaceChildren(
    make("div", { class: "compare-faces" }, ...thumbs),
    make("div", { class: "compare-words", role: "status" }, make("b", {}, title), make("span", {}, detail)),
    close,
  );
}
