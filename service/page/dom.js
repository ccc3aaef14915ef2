// Making elements, and words for numbers. Never sets HTML from a string: what the service or a file name says stays text.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("aria-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const percent = (share) => `${Math.round(share * 100)} %`;

export const plain = (label) => label.replaceAll("_", " ");

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const counted = (number, noun) => `${number === 0 ? "no" : number} ${noun}${number === 1 ? "" : "s"}`;

export function bar(label, share, best = false) {
  const fill = make("span", { class: "fill" });
  fill.style.width = `${Math.round(share * 1000) / 10}%`;
  return make(
    "li",
    { class: best ? "best" : "" },
    make("span", {}, label),
    make("span", { class: "track", "aria-hidden": "true" }, fill),
    make("output", {}, percent(share)),
  );
}

export function problem({ title, detail, request_id: request }) {
  return make(
    "div",
    { class: "problem", role: "alert" },
    make("h3", {}, title),
    make("p", {}, detail ?? ""),
    request ? make("p", { class: "hint" }, `Request ${request}`) : null,
  );
}
