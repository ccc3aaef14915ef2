// Wiring: pictures come in by dropping, choosing or pasting, go out to the service, and their answers are shown.

import { Problem, analyze, model } from "./api.js";
import * as compare from "./compare.js";
import { counted } from "./dom.js";
import { Picture } from "./picture.js";

const NUM_AT_ONCE = 2; // more would only queue at the service
const byId = (id) => document.getElementById(id);
const list = byId("pictures");
const status = byId("status");
const chooser = byId("choose");

let pictures = [];
const waiting = [];
let running = 0;

function take(files) {
  const pairs = [...files].map((file) => ({ file, picture: new Picture(file, compare.toggle) }));
  if (!pairs.length) return;
  document.body.classList.add("busy");
  byId("bar").hidden = false;
  list.prepend(...pairs.map(({ picture }) => picture.element));
  pictures = [...pairs.map(({ picture }) => picture), ...pictures];
  waiting.push(...pairs);
  status.textContent = `Looking at ${counted(pairs.length, "picture")} …`;
  while (running < NUM_AT_ONCE && waiting.length) next();
}

async function next() {
  const { file, picture } = waiting.shift();
  running += 1;
  try {
    picture.answer(await analyze(file));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    picture.fail(error.body);
  } finally {
    running -= 1;
    if (waiting.length) next();
    else if (!running) tell();
  }
}

function tell() {
  const faces = pictures.reduce((total, picture) => total + picture.faces.length, 0);
  if (!pictures.length) status.textContent = "";
  else if (pictures.length === 1) status.textContent = pictures[0].words;
  else status.textContent = `${counted(faces, "face")} in ${counted(pictures.length, "picture")}`;
}

function clear() {
  waiting.length = 0;
  compare.reset();
  pictures.forEach((picture) => picture.remove());
  pictures = [];
  document.body.classList.remove("busy");
  byId("bar").hidden = true;
  tell();
  chooser.focus();
}

chooser.addEventListener("change", () => {
  take(chooser.files);
  chooser.value = ""; // so that the same file can be chosen again
});
byId("clear").addEventListener("click", clear);
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) event.preventDefault();
  take(files);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer?.files ?? []);
});

model()
  .then(({ name, version }) => {
    byId("pack").textContent = `model ${name} ${version}`;
  })
  .catch(() => {}); // asked for the heading alone: with a missing key the page works on, and says so when it is used
