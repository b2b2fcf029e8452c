// The point prompt: the mode in which a click on the surface asks for masks, and the panel in which
// one of them is taken. Knows the server's state and the payloads, not three.js.

import { el, formatCount, iconButton, ownUrl, setAttribute, setText } from "./dom.js";
import { BUSY } from "./overlay.js";

const MODES = ["new", "add", "cut"];

export class PointPrompt {
  // `on`: send(payload), problem(text), changed(), focusPicture(), masks() → MaskLayer | null.
  constructor(on, id) {
    this.on = on;
    this.isOn = false; // the person chose the mode; it works while the server allows it
    this.state = { candidates: [], canPrompt: false, canTake: false };
    this.chosen = null;
    this.hovered = null;
    this.given = null; // points in the coordinates of the file
    this.sent = null;
    this.toggle = iconButton("prompt", "Point prompt", { text: true, toggle: true, onClick: () => this.switch(!this.isOn) });
    this.bar = el("div", { class: "pv-prompt", role: "toolbar", "aria-label": "Point prompt", hidden: true }, this.toggle);
    this.#buildPanel(id);
  }

  #buildPanel(id) {
    this.name = `${id}-mask`;
    this.list = el("div", { class: "pv-mask-list", role: "radiogroup", "aria-label": "Masks at the point", on: { pointerleave: () => this.#hover(null) } });
    this.takes = {
      new: el("button", { class: "pv-button pv-primary", type: "button", text: "New part", title: "Make the mask a new part", on: { click: () => this.take("new") } }),
      add: el("button", { class: "pv-button", type: "button", on: { click: () => this.take("add") } }),
      cut: el("button", { class: "pv-button", type: "button", on: { click: () => this.take("cut") } }),
    };
    this.leave = el("button", { class: "pv-button", type: "button", text: "Dismiss", title: "Take none of the masks (Escape)", on: { click: () => this.dismiss() } });
    this.panel = el("div", { class: "pv-masks", role: "group", "aria-label": "Masks", hidden: true },
      this.list, el("div", { class: "pv-row" }, this.takes.new, this.takes.add, this.takes.cut, this.leave));
    this.told = el("div", { class: "pv-sr", role: "status", "aria-live": "polite" });
    this.root = el("div", { class: "pv-prompt-layer" }, this.bar, this.panel, this.told);
  }

  // ---- what the server says

  apply(value) {
    const given = Array.isArray(value.candidates) ? value.candidates : [];
    const candidates = given.map((mask) => ({ ...mask, href: ownUrl(mask.glb_url) })).filter(({ href, index }) => href && Number.isInteger(index));
    const isIdle = !(value.state in BUSY);
    const hint = String(value.prompt_hint ?? "");
    if (isIdle) this.sent = null;
    this.given = isPoint(value.prompt_point) ? value.prompt_point : null;
    Object.assign(this.state, { hint, isIdle, isAllowed: value.can_prompt === true && isIdle, revision: value.revision });
    if (isIdle) this.bar.hidden = value.can_prompt !== true && hint === "";
    this.#offer(candidates);
    this.#mark();
  }

  // The ring is at the point under way, else at the one that was answered.
  #mark() {
    this.on.masks()?.mark(this.sent ?? this.given);
  }

  // Puts the masks on show; the one of the highest IoU is chosen at first.
  #offer(candidates) {
    const key = JSON.stringify(candidates.map(({ href, iou, faces }) => [href, iou, faces]));
    if (key === this.key) return;
    this.key = key;
    this.state.candidates = candidates;
    this.hovered = null;
    this.chosen = candidates.reduce((best, mask) => (best === null || worth(mask) > worth(best) ? mask : best), null);
    this.list.replaceChildren(...candidates.map((mask) => this.#row(mask)));
    setText(this.told, this.chosen ? `${candidates.length} masks at the point. ${labelOf(this.chosen)} is chosen.` : "");
    this.#load(candidates);
  }

  #row(mask) {
    const isEmpty = !(mask.faces > 0);
    const input = el("input", { type: "radio", name: this.name, value: mask.index, "aria-label": labelOf(mask), "aria-keyshortcuts": mask.index + 1, disabled: isEmpty, on: { change: () => this.choose(mask.index) } });
    input.checked = mask === this.chosen;
    const share = Number.isFinite(mask.area_percent) ? `${mask.area_percent.toFixed(1)}\u2009% of the surface` : "";
    const [name, iou, faces] = piecesOf(mask).map((text) => el("span", { text }));
    return el("label", { class: "pv-mask", title: [share, `key ${mask.index + 1}`].filter(Boolean).join(" · "), on: { pointerenter: (event) => event.pointerType !== "touch" && this.#hover(mask) } },
      input, el("span", { class: "pv-mask-text", "aria-hidden": "true" }, el("b", {}, name), iou, el("span", { class: "pv-dot", text: " · " }), faces));
  }

  #load(candidates) {
    this.loading?.abort();
    this.loading = new AbortController();
    const { signal } = this.loading;
    const masks = this.on.masks();
    if (!masks) return;
    if (this.hasFailed) this.on.problem(null);
    this.hasFailed = false;
    masks.keep(candidates.map(({ href }) => href));
    for (const { href, index } of candidates) {
      masks.load(href, signal).then(() => this.#show()).catch((error) => {
        if (signal.aborted) return;
        this.hasFailed = true;
        this.on.problem(`Mask ${index + 1} could not be drawn: ${error.message}. Click the point again.`);
      });
    }
    this.#show();
  }

  // ---- what is shown

  get shown() {
    return (this.hovered ?? this.chosen)?.index ?? null;
  }

  #show() {
    this.on.masks()?.show((this.hovered ?? this.chosen)?.href ?? null);
  }

  #hover(mask) {
    if (this.hovered === mask) return;
    this.hovered = mask !== null && mask.faces > 0 ? mask : null;
    this.#show();
  }

  // `selected`: the selected parts; `canSend`: nothing of the person's is under way.
  update({ selected, hasModel, canSend }) {
    const { hint, isAllowed, isIdle, candidates } = this.state;
    this.state.canPrompt = isAllowed && hasModel && canSend;
    this.state.canTake = candidates.length > 0 && isIdle && canSend && this.chosen?.faces > 0;
    this.state.selected = selected;
    this.panel.hidden = candidates.length === 0 || !isIdle;
    this.leave.disabled = !isIdle || !canSend;
    const isBlocked = !isAllowed || !hasModel;
    if (isIdle && !isAllowed) this.isOn = false;
    this.toggle.disabled = isBlocked;
    this.toggle.title = isBlocked && hint ? hint : "Click a point of the surface to get masks for it (P)";
    this.toggle.setAttribute("aria-pressed", String(this.isOn));
    this.#updateTakes(selected);
  }

  #updateTakes(selected) {
    const name = selected.length === 1 ? selected[0].name : "selected part";
    const help = "Select exactly one part first";
    setText(this.takes.add, `Add to ${name}`);
    setText(this.takes.cut, `Cut from ${name}`);
    setAttribute(this.takes.add, "title", selected.length === 1 ? `Add the mask to “${name}”` : help);
    setAttribute(this.takes.cut, "title", selected.length === 1 ? `Make what the mask covers of “${name}” a part of its own` : help);
    for (const mode of MODES) this.takes[mode].disabled = !this.state.canTake || (mode !== "new" && selected.length !== 1);
  }

  get isAiming() {
    return this.isOn && this.state.canPrompt;
  }

  // ---- what the person does

  switch(isOn) {
    if (this.toggle.disabled) return;
    this.isOn = isOn;
    this.on.changed();
  }

  ask(point) {
    if (!this.isAiming || !isPoint(point)) return;
    this.sent = point;
    this.#mark();
    this.#send({ action: "prompt", point });
  }

  // The server did not take up the point that was sent.
  forget() {
    this.sent = null;
    this.#mark();
  }

  choose(index) {
    const mask = this.state.candidates.find((candidate) => candidate.index === index);
    if (!mask || !(mask.faces > 0)) return;
    this.chosen = mask;
    this.hovered = null;
    for (const input of this.list.querySelectorAll("input")) input.checked = Number(input.value) === index;
    setText(this.told, `${labelOf(mask)} is chosen.`);
    this.#show();
    this.on.changed();
  }

  take(mode) {
    if (this.takes[mode].disabled) return;
    this.on.focusPicture(); // the panel goes, and takes its focus with it
    const part_ids = mode === "new" ? [] : this.state.selected.map(({ id }) => id);
    this.#send({ action: "take", index: this.chosen.index, mode, part_ids });
  }

  dismiss() {
    if (this.leave.disabled) return;
    this.on.focusPicture();
    this.#send({ action: "dismiss" });
  }

  #send(payload) {
    this.on.send({ part_ids: [], ...payload, revision: this.state.revision });
  }

  // Whether there was something to leave: first the masks, then the mode.
  escape() {
    if (this.state.candidates.length) this.dismiss();
    else if (this.isOn) this.switch(false);
    else return false;
    return true;
  }

  // Whether a number key means a mask and not a view.
  takesNumber(number) {
    if (this.state.candidates.length === 0) return false;
    this.choose(number - 1);
    return true;
  }

  dispose() {
    this.loading?.abort();
  }
}

const worth = ({ iou, faces }) => (faces > 0 && Number.isFinite(iou) ? iou : -Infinity);

function piecesOf({ index, iou, faces }) {
  return [`Mask ${index + 1}`, `IoU ${Number.isFinite(iou) ? iou.toFixed(2) : "–"}`, `${formatCount(faces)} face${faces === 1 ? "" : "s"}`];
}

const labelOf = (mask) => piecesOf(mask).join(" · ");

function isPoint(point) {
  return Array.isArray(point) && point.length === 3 && point.every(Number.isFinite);
}
