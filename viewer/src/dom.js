// Small helpers to build elements. All text goes in as text, never as markup.

export function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  const { class: className, text, on, ...attributes } = options;
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  for (const [name, handler] of Object.entries(on ?? {})) node.addEventListener(name, handler);
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  node.append(...children.filter(Boolean));
  return node;
}

export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? "" : String(value));
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const SVG = "http://www.w3.org/2000/svg";

// Each icon is a list of stroke paths on a 24 x 24 grid.
const ICONS = {
  merge: ["M4 5h5v5H4z", "M4 14h5v5H4z", "M9 7.5h3a3 3 0 0 1 3 3v3a3 3 0 0 1-3 3H9", "M15 12h5", "M17.5 9.5 20 12l-2.5 2.5"],
  split: ["M4 9.5h5v5H4z", "M9 12h3", "M12 12c0-4 2-5.5 4-5.5h1", "M12 12c0 4 2 5.5 4 5.5h1", "M17 4.5h4v4h-4z", "M17 15.5h4v4h-4z"],
  rename: ["M4 20h4L19 9l-4-4L4 16z", "M13 7l4 4"],
  undo: ["M8 5 4 9l4 4", "M4 9h10a5 5 0 0 1 0 10h-3"],
  eye: ["M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z", "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z"],
  eyeOff: ["M4 4l16 16", "M9.5 5.9A9 9 0 0 1 12 5.5c6 0 9.5 6.5 9.5 6.5a17 17 0 0 1-3 3.7", "M6 7.7A16 16 0 0 0 2.5 12S6 18.5 12 18.5a9 9 0 0 0 3.5-.7", "M10 10a3 3 0 0 0 4 4"],
  fit: ["M4 9V4h5", "M15 4h5v5", "M20 15v5h-5", "M9 20H4v-5", "M9 9h6v6H9z"],
  box: ["M12 3 20 7.5v9L12 21l-8-4.5v-9z", "M12 12l8-4.5", "M12 12 4 7.5", "M12 12v9"],
  handles: ["M6.5 6.5h11v11h-11z", "M12 2.6v2", "M12 19.4v2", "M2.6 12h2", "M19.4 12h2"],
  wire: ["M4 18 12 4l8 14z", "M8 11h8", "M8 11l4 7 4-7"],
  cut: ["M4 8.5 12 4l8 4.5v7L12 20l-8-4.5z", "M6.5 16.8 16 6.3", "M10.5 19 19.7 9", "M4 12.6l7-7.8"],
  camera: ["M4 8h4l1.5-2.5h5L16 8h4v11H4z", "M12 10.5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z"],
  isolate: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z", "M12 2.5v3", "M12 18.5v3", "M2.5 12h3", "M18.5 12h3"],
  prompt: ["M12 3v5", "M12 16v5", "M3 12h5", "M16 12h5", "M12 11.6v.8"],
  full: ["M14 4h6v6", "M20 4l-6.5 6.5", "M10 20H4v-6", "M4 20l6.5-6.5"],
  explode: ["M12 10v4", "M10 12h4", "M4 4l4 4", "M4 8V4h4", "M20 4l-4 4", "M16 4h4v4", "M4 20l4-4", "M4 16v4h4", "M20 20l-4-4", "M16 20h4v-4"],
  drop: ["M12 3v11", "M7.5 9.5 12 14l4.5-4.5", "M4 16v4h16v-4"],
  warn: ["M12 4 21.5 20h-19z", "M12 10v5", "M12 17.3v.4"],
  check: ["M5 12.5 10 17.5 19 7"],
  voxel: ["M4.5 4.5h7v7h-7z", "M12.5 12.5h7v7h-7z", "M12.5 4.5h7v7h-7z", "M4.5 12.5h7v7h-7z"],
  open: ["M18.5 9A7.3 7.3 0 1 0 19 14"],
  waiting: ["M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z", "M12 8v4.4l2.8 1.6"],
  running: ["M12 3.5v4", "M12 16.5v4", "M3.5 12h4", "M16.5 12h4", "M6 6l2.8 2.8", "M15.2 15.2 18 18", "M18 6l-2.8 2.8"],
  none: ["M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16z", "M6.4 17.6 17.6 6.4"],
  failed: ["M6 6l12 12", "M18 6 6 18"],
  surface: ["M3 15c4-6 7 2 11-2 2.5-2.5 4.5-3 7-2"],
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "pv-icon");
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

// A button with an icon, and a text that is either shown or only read aloud.
export function iconButton(name, label, { title = label, onClick, text = false, toggle = false, ...rest } = {}) {
  const button = el("button", { class: text ? "pv-button" : "pv-button pv-square", type: "button", title, on: { click: onClick }, ...rest }, icon(name));
  if (text) button.append(el("span", { text: label }));
  else button.setAttribute("aria-label", label);
  if (toggle) button.setAttribute("aria-pressed", "false");
  return button;
}

// Our own files only: a URL of another host or another scheme is refused.
export function ownUrl(url) {
  if (typeof url !== "string" || url === "") return null;
  const resolved = new URL(url, document.baseURI);
  const page = new URL(document.baseURI);
  return resolved.origin === page.origin && /^https?:$/.test(resolved.protocol) ? resolved.href : null;
}

export function formatCount(value) {
  return Number.isFinite(value) ? Math.round(value).toLocaleString("en-US").replaceAll(",", "\u202f") : "–";
}
