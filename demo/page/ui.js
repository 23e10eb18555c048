// DOM helpers, messages and settings that the whole page uses.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function icon(name) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg"), use = document.createElementNS(ns, "use");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Announce to screen readers. */
export function say(text) {
  $("live").textContent = text;
}

export function toast(text, kind = "") {
  const one = make("div", { class: `toast ${kind}` }, text);
  $("toasts").replaceChildren(one);
  setTimeout(() => one.remove(), kind === "error" ? 7000 : 3500);
}

export const percent = (share) => (share >= 0.1 ? `${Math.round(share * 100)}%` : share >= 0.001 ? `${(share * 100).toFixed(1)}%` : "<0.1%");
export const SCORE_MEANS = "Score: how well the model expects the mask to fit, from 0 to 1 (predicted IoU)";
export const score = (value) => (value == null ? "" : value.toFixed(2));

/** The theme: light, dark, or the system's. */
export function startTheme(button) {
  const root = document.documentElement;
  const stored = remembered("theme");
  if (stored) root.dataset.theme = stored;
  button.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember("theme", root.dataset.theme);
    say(dark ? "Light" : "Dark");
  });
}

export function remembered(key) {
  try {
    return localStorage.getItem(`sam-hub.${key}`);
  } catch {
    return null; // storage is disabled
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`sam-hub.${key}`, value);
  } catch {
    // storage is disabled
  }
}

/** Roving tabindex: arrow keys move within a group, of which one button is in the tab order. */
export function roving(group, selector) {
  group.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[e.key];
    if (!step) return;
    const all = [...group.querySelectorAll(selector)].filter((b) => !b.disabled);
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const next = all[(at + step + all.length) % all.length];
    next.focus();
    if (next.getAttribute("role") === "radio" || next.getAttribute("role") === "tab") next.click();
    e.preventDefault();
  });
}
