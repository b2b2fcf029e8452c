// The boxes that parts are given, and the mode in which one of them is changed: by handles in the
// picture and by six numbers in a panel. Knows the server's state and the payloads, not three.js.

import { el, iconButton, setText } from "./dom.js";
import { CLAY, NO_PART } from "./model.js";
import { BUSY } from "./overlay.js";
import { safeColour } from "./table.js";

const LEAST_SHARE = 1e-3; // the thinnest box a handle makes, and how far its faces may go, as shares of
const FARTHEST_SHARE = 1; // the object's diagonal
const DIGITS = 4; // of the diagonal that a dragged number keeps
const STEPS = 200; // presses of an arrow key along the diagonal
const LARGEST_COORDINATE = 1e15; // as the server's
const STEP_PATIENCE_MS = 600; // after the last press of an arrow key the box is sent
const FIELDS = [0, 1, 2].flatMap((axis) => ["min", "max"].map((side) => ({ axis, side, label: `${"xyz"[axis]} ${side}` })));

export class BoxEditor {
  // `on`: send(payload), changed(), showAll(), preview(id, box), cancelDrag() → whether there was one.
  constructor(on) {
    this.on = on;
    this.isOn = false; // the person chose the mode; it works while the server allows it
    this.given = new Map(); // part id → { min, max, isEdited }
    this.part = null; // the one selected part, with `own`, its AABB
    this.draft = null; // { id, min, max }: not yet confirmed by the server
    this.sent = null; // of the draft, what was sent
    this.isWaiting = false; // the draft is to be sent when the server has answered
    this.dragged = null; // { axis, side, box }
    this.typing = null; // the field with text that is not taken yet
    this.scale = { diagonal: 1, min: [0, 0, 0], max: [1, 1, 1] };
    this.state = { isAllowed: false, isActive: false, canSend: false };
    this.toggle = iconButton("handles", "Edit boxes", { text: true, toggle: true, hidden: true, onClick: () => this.switch(!this.isOn) });
    this.#build();
  }

  #build() {
    this.title = el("p", { class: "pv-boxes-title" });
    this.mark = el("span", { class: "pv-boxes-mark", text: "edited" });
    this.count = el("p", { class: "pv-boxes-count" });
    const keepFocus = (event) => event.preventDefault(); // else the typed field is left, and sent, before the click
    this.resetOne = el("button", { class: "pv-button", type: "button", text: "Reset this box", on: { mousedown: keepFocus, click: () => this.reset(this.part ? [this.part.id] : []) } });
    this.resetAll = el("button", { class: "pv-button", type: "button", text: "Reset all", title: "Give every part its box as it was found", on: { mousedown: keepFocus, click: () => this.reset([]) } });
    this.inputs = FIELDS.map((field) => this.#input(field));
    this.fields = el("div", { class: "pv-boxes-fields", role: "group" }, ...FIELDS.map((field, i) =>
      el("label", { class: "pv-box-field" }, el("span", { text: field.label }), this.inputs[i])));
    this.note = el("p", { class: "pv-boxes-note", role: "alert" });
    this.root = el("div", { class: "pv-boxes", role: "group", "aria-label": "Box of the part", hidden: true },
      el("div", { class: "pv-boxes-head" }, el("div", { class: "pv-boxes-name" }, this.title, this.mark, this.count), el("div", { class: "pv-row" }, this.resetOne, this.resetAll)),
      this.fields, this.note);
  }

  #input(field) {
    const input = el("input", { type: "number", step: "any", autocomplete: "off", title: "Arrow keys change it; with Shift ten times as far", on: {
      input: () => this.#type(input, field), change: () => this.#finish(), blur: () => this.#finish(), keydown: (event) => this.#key(event, input, field),
    } });
    return input;
  }

  // ---- what the server says

  apply(value, isOtherMesh) {
    const boxes = Array.isArray(value.boxes) ? value.boxes : [];
    this.given = new Map(boxes.map((box) => [box.part_id, { ...boxFrom(box.aabb), isEdited: box.is_edited === true }]).filter(([, box]) => box.min));
    const isIdle = !(value.state in BUSY);
    Object.assign(this.state, { isAllowed: value.can_edit_boxes === true && isIdle, revision: value.revision });
    if (isIdle) this.toggle.hidden = value.can_edit_boxes !== true;
    if (isOtherMesh) {
      this.isOn = false;
      this.#drop();
    }
    if (isIdle && !this.state.isAllowed) this.isOn = false;
    if (!this.state.isAllowed) this.#drop();
    if (this.sent && !this.isWaiting && !this.dragged && !this.timer) this.draft = this.sent = null;
  }

  // The server did not take up what was sent.
  forget() {
    if (this.isWaiting || this.dragged || this.timer) return;
    this.draft = this.sent = null;
  }

  // The box that a part has now, or null where its own AABB holds.
  boxOf(id) {
    if (this.draft?.id === id) return { ...this.draft, isEdited: true };
    return this.given.get(id) ?? null;
  }

  // What is drawn: the boxes of all parts while they are shown, that of the part in hand always.
  drawn({ model, byId, view, accent }) {
    const heavy = this.current ? this.part.id : null;
    const given = [...this.given.keys()].filter((id) => byId?.has(id));
    const ids = view.boxes ? new Set([...model.parts.keys(), ...given]) : new Set(heavy === null ? [] : [heavy]);
    if (given.length) ids.delete(NO_PART);
    return [...ids].map((id) => ({
      id, ...(this.boxOf(id) ?? boxFrom(byId?.get(id)?.aabb) ?? model.boxOf(id)), isHeavy: id === heavy, isShown: !view.hidden.has(id),
      colour: id === heavy ? accent : byId?.has(id) ? safeColour(byId.get(id).colour) : CLAY,
    }));
  }

  // ---- what is shown

  // `selected`: the selected parts, each with `own`, its AABB or null; `extent`: that of the object.
  update({ selected, extent, hasModel, canSend }) {
    const part = selected.length === 1 ? selected[0] : null;
    if (this.draft && this.draft.id !== part?.id && !this.isWaiting) this.#drop();
    Object.assign(this.state, { canSend, isActive: this.isOn && this.state.isAllowed && hasModel });
    if (part?.id !== this.part?.id) this.typing = null;
    this.part = part && (this.given.has(part.id) || part.own) ? part : null;
    if (extent) this.scale = { ...extent, diagonal: Math.hypot(...extent.max.map((v, i) => v - extent.min[i])) || 1 };
    this.toggle.disabled = !this.state.isAllowed || !hasModel;
    this.toggle.title = "Change the boxes of the parts by handles or numbers (E)";
    this.toggle.setAttribute("aria-pressed", String(this.state.isActive));
    this.root.hidden = !this.state.isActive;
    if (this.state.isActive) this.#fill(selected.length);
    if (this.isWaiting && canSend) this.#commit();
  }

  #fill(selectedCount) {
    const edited = [...this.given].filter(([id, { isEdited }]) => isEdited || this.draft?.id === id).length;
    const isEdited = this.part !== null && Boolean(this.boxOf(this.part.id)?.isEdited);
    setText(this.title, this.part?.name ?? (selectedCount > 1 ? "Select one part only to change its box" : "Select a part to change its box"));
    this.fields.setAttribute("aria-label", this.part ? `Box of ${this.part.name}` : "No part is selected");
    this.mark.hidden = !isEdited;
    setText(this.count, edited ? `${edited} box${edited > 1 ? "es" : ""} edited, drawn with dashes` : "");
    this.resetOne.disabled = !isEdited || !this.state.canSend;
    this.resetAll.disabled = !(edited || this.draft) || !this.state.canSend;
    this.#fillNumbers();
  }

  #fillNumbers() {
    const box = this.current;
    FIELDS.forEach(({ axis, side }, i) => {
      const input = this.inputs[i];
      input.disabled = box === null;
      const text = box ? String(this.#tidy(box[side][axis], DIGITS + 1)) : "";
      if (input !== this.typing && input.value !== text) input.value = text;
      if (input !== this.typing) input.removeAttribute("aria-invalid");
    });
    if (!this.typing) setText(this.note, "");
  }

  // The box that the numbers and the handles show, or null.
  get current() {
    if (!this.state.isActive || this.part === null) return null;
    const { min, max } = this.boxOf(this.part.id) ?? this.part.own;
    return { min, max };
  }

  #tidy(value, digits = DIGITS) {
    return Number(value.toFixed(Math.min(Math.max(Math.ceil(digits - Math.log10(this.scale.diagonal)), 0), 20)));
  }

  // ---- what the person does

  switch(isOn) {
    if (this.toggle.disabled) return;
    if (isOn) this.on.showAll();
    else this.#finish();
    this.isOn = isOn;
    this.on.changed();
  }

  startDrag(axis, side) {
    this.#finish();
    this.typing = null;
    this.dragged = { axis, side: side ? "max" : "min", box: this.current };
  }

  drag(distance) {
    if (!this.dragged?.box) return;
    const { axis, side, box } = this.dragged;
    this.#preview(moved(box, axis, side, this.#bounded(box, axis, side, box[side][axis] + distance)));
  }

  endDrag(isKept) {
    this.dragged = null;
    if (isKept) this.#commit();
    else this.#drop();
    this.on.changed();
  }

  // A face stops before the opposite one, and not too far from the object.
  #bounded({ min, max }, axis, side, value) {
    const { diagonal, min: low, max: high } = this.scale;
    const least = LEAST_SHARE * diagonal;
    const far = Math.max(low[axis] - FARTHEST_SHARE * diagonal, Math.min(high[axis] + FARTHEST_SHARE * diagonal, value));
    return this.#tidy(side === "max" ? Math.max(far, min[axis] + least) : Math.min(far, max[axis] - least));
  }

  #preview(box) {
    this.draft = { id: this.part.id, ...box };
    this.on.preview(this.part.id, box);
    this.#fill(1);
  }

  #type(input, { axis, side }) {
    this.typing = input;
    this.draft = this.sent; // what was typed so far is no box any more
    const box = this.current;
    if (box === null) return;
    this.problem = this.#problem(box, axis, side, input.value);
    input.setAttribute("aria-invalid", String(Boolean(this.problem)));
    if (this.problem) this.on.preview(this.part.id, box);
    else this.#preview(moved(box, axis, side, Number(input.value)));
    setText(this.note, ""); // what is wrong is said when the field is left, not at each key
  }

  #problem({ min, max }, axis, side, text) {
    const name = "xyz"[axis];
    const value = Number(text);
    if (text === "" || !(Math.abs(value) <= LARGEST_COORDINATE)) return `${name} ${side} needs a number.`;
    if (side === "max" && value <= min[axis]) return `${name} max must be greater than ${name} min, which is ${this.#tidy(min[axis])}.`;
    if (side === "min" && value >= max[axis]) return `${name} min must be smaller than ${name} max, which is ${this.#tidy(max[axis])}.`;
    return null;
  }

  #key(event, input, { axis, side }) {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (event.key === "Enter") this.#finish();
    else if (event.key === "Escape" && (this.typing || this.timer)) {
      this.#drop();
      this.on.changed();
    } else if (step !== undefined && this.current) this.#step(input, axis, side, step * (event.shiftKey ? 10 : 1));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #step(input, axis, side, count) {
    const box = this.current;
    const size = 10 ** Math.round(Math.log10(this.scale.diagonal / STEPS));
    this.typing = null;
    this.#preview(moved(box, axis, side, this.#bounded(box, axis, side, box[side][axis] + count * size)));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#finish(), STEP_PATIENCE_MS);
  }

  // Takes what was typed or stepped; what makes no box stays in its field, with the reason.
  #finish() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.typing && this.problem) return setText(this.note, this.problem);
    this.typing = null;
    this.#commit();
  }

  #commit() {
    if (!this.draft || this.dragged) return;
    const { id, min, max } = this.draft;
    const before = this.sent ?? this.given.get(id) ?? this.part?.own;
    this.isWaiting = false;
    if (before && String([before.min, before.max]) === String([min, max])) {
      if (!this.sent) this.#drop();
      return;
    }
    this.isWaiting = !this.state.canSend;
    if (this.isWaiting) return;
    this.sent = { id, min, max };
    this.on.send({ action: "box", part_ids: [id], aabb: [min, max], revision: this.state.revision });
  }

  reset(part_ids) {
    this.#drop();
    this.on.send({ action: "reset_boxes", part_ids, revision: this.state.revision });
  }

  #drop() {
    clearTimeout(this.timer);
    Object.assign(this, { draft: null, sent: null, isWaiting: false, timer: null, typing: null, dragged: null });
  }

  // Whether there was something to leave: first a drag, then the mode.
  escape() {
    if (this.on.cancelDrag()) return true;
    if (!this.state.isActive) return false;
    this.switch(false);
    return true;
  }

  dispose() {
    clearTimeout(this.timer);
  }
}

const moved = (box, axis, side, value) => ({ ...box, [side]: box[side].map((v, i) => (i === axis ? value : v)) });

// Corners as they come from the server, or null for anything else.
export function boxFrom(aabb) {
  const isBox = Array.isArray(aabb) && aabb.length === 2 && aabb.every((corner) => Array.isArray(corner) && corner.length === 3 && corner.every(Number.isFinite));
  return isBox ? { min: aabb[0], max: aabb[1] } : null;
}
