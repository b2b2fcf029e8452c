// The part table: one row per part, linked with the picture. Knows rows and keys, not three.js.

import { el, formatCount, icon, setAttribute, setText } from "./dom.js";

const CLOSURE = { closed: ["check", "Closed"], voxel: ["voxel", "Remade"], open: ["open", "Open"], surface: ["surface", "Sheet"] };
export const PROGRESS = { waiting: ["waiting", "Waiting"], running: ["running", "Running"], empty: ["none", "Empty"], failed: ["failed", "Failed"] };
const STATES = { ...CLOSURE, ...PROGRESS };
const HINTS = { voxel: "closed by a voxel surface, made anew near its own" };

export class PartTable {
  // `on`: select(ids Set, anchor), hover(id | null), toggleVisible(id), rename(id, name).
  constructor(on) {
    this.on = on;
    this.rows = new Map();
    this.order = [];
    this.selected = new Set();
    this.anchor = null;
    this.active = null;
    this.editable = false;
    const head = ["No.", "Name", "Faces", "Area", "Closed?", ""].map((text, i) =>
      el("th", { scope: "col", class: `pv-c${i}`, text, ...(i === 5 ? { "aria-label": "Shown" } : {}) }));
    [, , this.facesHead, , this.stateHead] = head;
    this.body = el("tbody");
    this.table = el("table", { class: "pv-table", role: "grid", "aria-multiselectable": "true", "aria-label": "Parts" }, el("thead", {}, el("tr", {}, ...head)), this.body);
    this.placeholder = el("p", { class: "pv-nothing", text: "The parts will be listed here." });
    this.root = el("div", { class: "pv-table-scroll" }, this.table, this.placeholder);
    this.body.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("pointerleave", () => this.on.hover(null));
  }

  setParts(parts, editable) {
    this.editable = editable;
    this.order = parts.map((part) => part.id);
    this.hasSizes = parts.some(({ area }) => area); // closed parts, as they would be printed
    this.root.classList.toggle("pv-sizes", this.hasSizes);
    setText(this.facesHead, this.hasSizes ? "Volume" : "Faces");
    const known = new Set(this.order);
    for (const [id, row] of this.rows) {
      if (known.has(id)) continue;
      row.root.remove();
      this.rows.delete(id);
    }
    parts.forEach((part, place) => {
      if (!this.rows.has(part.id)) this.rows.set(part.id, this.#makeRow(part.id));
      const row = this.rows.get(part.id);
      this.#fill(row, part, place);
      if (this.body.children[place] !== row.root) this.body.insertBefore(row.root, this.body.children[place] ?? null);
    });
    setText(this.stateHead, parts.some(({ state }) => state in PROGRESS) ? "State" : "Closed?");
    if (!known.has(this.active)) this.active = this.order[0] ?? null;
    if (!known.has(this.anchor)) this.anchor = null;
    this.placeholder.hidden = parts.length > 0;
    this.table.hidden = parts.length === 0;
    this.#tabStops();
  }

  #makeRow(id) {
    const number = el("button", { class: "pv-swatch", type: "button", tabindex: -1, on: { click: (event) => this.#toggle(event, id) } });
    const name = el("span", { class: "pv-name-text" });
    const size = el("span");
    const below = el("span", { class: "pv-below" }); // the area where there is no column for it
    const closure = el("span", { class: "pv-closure" });
    const eye = el("button", { class: "pv-eye", type: "button", tabindex: -1, on: { click: (event) => this.#eye(event, id) } }, icon("eye"), icon("eyeOff"));
    const cells = {
      number: el("td", { class: "pv-c0" }, number),
      name: el("td", { class: "pv-c1 pv-name", on: { dblclick: () => this.startRename(id) } }, name),
      faces: el("td", { class: "pv-c2" }, size, below),
      area: el("td", { class: "pv-c3" }),
      closed: el("td", { class: "pv-c4" }, closure),
      eye: el("td", { class: "pv-c5" }, eye),
    };
    const root = el("tr", { tabindex: -1, "aria-selected": "false" }, ...Object.values(cells));
    root.dataset.partId = id;
    root.addEventListener("click", (event) => this.#click(event, id));
    root.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && this.on.hover(id));
    root.addEventListener("focus", () => this.#setActive(id));
    return { root, number, name, size, below, closure, eye, cells, part: null };
  }

  #fill(row, part, place) {
    row.part = part;
    row.place = place + 1;
    setText(row.number, String(place + 1));
    row.number.style.setProperty("--swatch", safeColour(part.colour));
    row.number.classList.toggle("pv-dark-text", isLight(safeColour(part.colour)));
    row.number.setAttribute("aria-label", `Add ${part.name} to the selection`);
    setText(row.name, part.name);
    const share = Number.isFinite(part.area_percent) ? `${part.area_percent.toFixed(1)}\u2009%` : "–";
    row.cells.name.title = part.included === false ? `${part.name} (left out)` : part.name + (this.hasSizes ? `: ${formatCount(part.faces)} faces, ${share} of the area` : "");
    setText(row.size, this.hasSizes ? part.volume || "–" : formatCount(part.faces));
    setText(row.cells.area, this.hasSizes ? part.area || "–" : share);
    setText(row.below, this.hasSizes ? part.area || "–" : "");
    row.root.classList.toggle("pv-left-out", part.included === false);
    this.#fillClosure(row, part);
    row.eye.setAttribute("aria-label", `Show ${part.name}`);
  }

  #fillClosure(row, { state, reason = "", warning = "" }) {
    const told = [state, reason, warning].join("|");
    if (row.told === told) return; // what turns goes on turning
    row.told = told;
    const known = state in STATES ? state : "open";
    const [drawing, text] = STATES[known];
    const why = reason || HINTS[known];
    row.closure.className = `pv-closure pv-${known}`;
    row.closure.replaceChildren(icon(drawing), el("span", { text }), ...(why ? [el("span", { class: "pv-sr", text: `: ${why}` })] : []));
    if (warning) row.closure.append(el("span", { class: "pv-thin" }, icon("warn"), el("span", { class: "pv-sr", text: `. ${warning}` })));
    setAttribute(row.closure, "title", [why ? `${text}: ${why}` : text, warning].filter(Boolean).join("\n"));
  }

  setVisible(isVisible) {
    for (const [id, row] of this.rows) {
      const shown = isVisible(id);
      row.root.classList.toggle("pv-hidden-part", !shown);
      row.eye.setAttribute("aria-pressed", String(shown));
      row.eye.title = shown ? "Hide" : "Show";
    }
  }

  setSelected(selected, { reveal = null } = {}) {
    this.selected = selected;
    for (const [id, row] of this.rows) {
      row.root.setAttribute("aria-selected", String(selected.has(id)));
      row.number.setAttribute("aria-pressed", String(selected.has(id)));
    }
    if (reveal === null || !this.rows.has(reveal)) return;
    this.anchor = reveal;
    this.#setActive(reveal);
    this.#scrollTo(this.rows.get(reveal).root);
  }

  // Scrolls the list only, never the page.
  #scrollTo(row) {
    const area = this.root.getBoundingClientRect();
    const box = row.getBoundingClientRect();
    const head = this.table.tHead.getBoundingClientRect().height;
    if (box.top < area.top + head) this.root.scrollTop -= area.top + head - box.top;
    else if (box.bottom > area.bottom) this.root.scrollTop += box.bottom - area.bottom;
  }

  setHovered(id) {
    for (const [other, row] of this.rows) row.root.classList.toggle("pv-hovered", other === id);
  }

  #setActive(id) {
    this.active = id;
    this.#tabStops();
  }

  // One stop for the Tab key: the active row and its buttons.
  #tabStops() {
    for (const [id, row] of this.rows) {
      const stop = id === this.active ? 0 : -1;
      for (const node of [row.root, row.number, row.eye]) node.tabIndex = stop;
    }
  }

  #click(event, id) {
    if (event.target.closest("button, input")) return;
    if (event.shiftKey && this.anchor !== null) this.#choose(this.#range(this.anchor, id), this.anchor);
    else if (event.ctrlKey || event.metaKey) this.#choose(toggled(this.selected, id), id);
    else this.#choose(this.selected.size === 1 && this.selected.has(id) ? new Set() : new Set([id]), id);
    this.#setActive(id);
  }

  #toggle(event, id) {
    event.stopPropagation();
    if (event.shiftKey && this.anchor !== null) this.#choose(this.#range(this.anchor, id), this.anchor);
    else this.#choose(toggled(this.selected, id), id);
  }

  #eye(event, id) {
    event.stopPropagation();
    this.on.toggleVisible(id);
  }

  #range(from, to) {
    const [a, b] = [this.order.indexOf(from), this.order.indexOf(to)].sort((x, y) => x - y);
    return new Set(this.order.slice(a, b + 1));
  }

  #choose(ids, anchor) {
    this.anchor = anchor;
    this.on.select(ids);
  }

  #key(event) {
    const row = event.target.closest("tr");
    if (!row || event.target.closest("input")) return;
    const id = Number(row.dataset.partId);
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step !== undefined) this.#move(id, step, event);
    else if (event.key === " " && event.target === row) this.#choose(toggled(this.selected, id), id);
    else if (event.key === "Enter" && event.target === row) this.#choose(new Set([id]), id);
    else if (event.key.toLowerCase() === "h" && !event.ctrlKey && !event.metaKey) this.on.toggleVisible(id);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #move(id, step, event) {
    const place = Math.max(0, Math.min(this.order.length - 1, this.order.indexOf(id) + step));
    const next = this.order[place];
    if (event.shiftKey) this.#choose(this.#range(this.anchor ?? id, next), this.anchor ?? id);
    this.rows.get(next).root.focus({ preventScroll: true });
    this.#scrollTo(this.rows.get(next).root);
  }

  startRename(id) {
    const row = this.rows.get(id);
    if (!row || !this.editable || row.cells.name.querySelector("input")) return;
    const input = el("input", { class: "pv-name-input", type: "text", maxlength: 80, "aria-label": `New name of ${row.part.name}` });
    input.value = row.part.name;
    let isOver = false;
    const finish = (keep) => {
      if (isOver) return;
      isOver = true;
      const name = input.value.trim();
      const hadFocus = document.activeElement === input;
      input.remove();
      row.name.hidden = false;
      if (hadFocus) row.root.focus({ preventScroll: true });
      if (keep && name && name !== row.part.name) this.on.rename(id, name);
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") finish(true);
      else if (event.key === "Escape") finish(false);
    });
    input.addEventListener("blur", () => finish(true));
    row.name.hidden = true;
    row.cells.name.append(input);
    input.focus({ preventScroll: true });
    input.select();
  }
}

function toggled(set, id) {
  const next = new Set(set);
  if (!next.delete(id)) next.add(id);
  return next;
}

export function safeColour(colour) {
  return /^#[0-9a-f]{6}$/i.test(colour ?? "") ? colour : "#a9b4c6";
}

// Whether dark text reads better on the colour (relative luminance of WCAG).
function isLight(hex) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const v = parseInt(hex.slice(at, at + 2), 16) / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179;
}
