// The part viewer and its part table as one component: takes the server's state, sends back edits.
//
// PartwiseViewer.mount(element, props, trigger, watch) is all that the page calls. What only concerns
// the look (selection, hidden parts, explosion, camera) stays here; what changes parts goes to the
// server as trigger("submit", {action, part_ids, name, revision}); a point prompt (prompt.js) sends
// {action, point | index, mode} the same way, a box (boxes.js) {action, part_ids, aabb}.

import { Downloads, EditBar, ViewBar } from "./bars.js";
import { BoxEditor, boxFrom } from "./boxes.js";
import { CutMarks } from "./cuts.js";
import { el, ownUrl, setText } from "./dom.js";
import { expose } from "./expose.js";
import { actOnCameraKey, actOnKey } from "./keys.js";
import { loadModel, NO_PART } from "./model.js";
import { BUSY, factsText, Overlay } from "./overlay.js";
import { PointPrompt } from "./prompt.js";
import { Stage } from "./stage.js";
import { PartTable, safeColour } from "./table.js";

const NO_WEBGL = "This browser cannot draw in 3D (WebGL 2 is missing or switched off). The table and the downloads still work.";
const LOST = "The graphics driver stopped the 3D view. It comes back by itself; if it does not, reload the page.";
const EDIT_PATIENCE_MS = 3_000; // a refused edit brings no new state
const SELECT_DELAY_MS = 150;
const REPLACED_PATIENCE_MS = 5_000; // the address of the file that replaced another is on its way
let count = 0;

class PartViewer {
  constructor(element, trigger) {
    this.element = element;
    this.trigger = trigger;
    this.value = { state: "empty", parts: [] };
    this.view = { selected: new Set(), hidden: new Set(), hovered: null, explode: 0, boxes: false, wire: false, zUp: false, cuts: true };
    this.loaded = { url: null, key: null };
    this.fetching = null;
    this.problem = null;
    this.pendingRevision = null;
    this.#build(`pv-${++count}`);
    this.#startStage();
    this.#watchPage();
    expose(this);
  }

  #build(id) {
    this.canvas = el("canvas", { class: "pv-canvas", tabindex: 0, role: "img", "aria-label": "3D view of the parts. Arrow keys turn it, plus and minus zoom." });
    this.overlay = new Overlay();
    this.tip = el("div", { class: "pv-tip", "aria-hidden": "true", hidden: true });
    this.facts = el("p", { class: "pv-facts" });
    this.cuts = new CutMarks(() => this.toggle("cuts"));
    this.boxes = new BoxEditor({
      send: (payload) => this.#send(payload), changed: () => this.#switched(this.prompt, this.boxes), showAll: () => (this.view.boxes = true),
      preview: (part, box) => this.stage?.boxes.move(part, box), cancelDrag: () => this.stage?.boxes.handles.cancel() ?? false,
    });
    this.viewBar = new ViewBar({
      explode: (amount) => this.setExplode(amount), view: (name) => this.look(name), boxes: () => this.toggle("boxes"), wire: () => this.toggle("wire"),
      zUp: () => this.toggle("zUp"), picture: () => this.savePicture(), full: () => this.fullScreen(),
    }, id, this.boxes.toggle, this.cuts.toggle);
    this.editBar = new EditBar({
      merge: () => this.edit("merge"), split: () => this.edit("split"), rename: () => this.startRename(), undo: () => this.edit("undo"),
      isolate: () => this.isolate(), showAll: () => this.setHidden(new Set()),
    });
    this.table = new PartTable({
      select: (ids) => this.select(ids), hover: (part) => this.hover(part), toggleVisible: (part) => this.toggleVisible(part),
      rename: (part, name) => this.edit("rename", { ids: [part], name }),
    });
    this.downloads = new Downloads();
    this.prompt = new PointPrompt({
      send: (payload) => this.#send(payload), problem: (text) => this.#report(text), changed: () => this.#switched(this.boxes, this.prompt),
      focusPicture: () => this.canvas.focus({ preventScroll: true }), masks: () => this.stage?.masks ?? null,
    }, id);
    this.picture = el("div", { class: "pv-picture" }, this.canvas, this.facts, this.cuts.legend, this.prompt.root, this.overlay.root, this.tip);
    this.main = el("div", { class: "pv-main" },
      el("div", { class: "pv-stage" }, this.picture, this.boxes.root, this.viewBar.root),
      el("div", { class: "pv-side" }, this.editBar.root, this.table.root, this.editBar.foot));
    this.root = el("section", { class: "pv", "aria-label": "Part viewer", on: { keydown: (event) => actOnKey(this, event) } }, this.main, this.downloads.root, this.overlay.status);
    this.element.replaceChildren(this.root);
  }

  #startStage() {
    try {
      this.stage = new Stage(this.canvas, {
        hover: (part, x, y) => this.hover(part, x, y),
        click: (x, y, additive) => this.#click(x, y, additive),
        lost: () => this.#report(LOST),
        restored: () => this.#report(null),
        boxes: { start: (axis, side) => this.boxes.startDrag(axis, side), move: (distance) => this.boxes.drag(distance), end: (isKept) => this.boxes.endDrag(isKept) },
      });
    } catch (error) {
      console.warn("Partwise viewer:", error);
      this.stage = null;
      this.problem = NO_WEBGL;
    }
  }

  #watchPage() {
    this.sizes = new ResizeObserver(() => {
      if (!this.element.isConnected) this.dispose();
      else this.#resize();
    });
    this.sizes.observe(this.picture);
    this.sizes.observe(this.root);
    this.themes = new MutationObserver(() => this.#theme());
    this.themes.observe(document.body, { attributes: true, attributeFilter: ["class"] });
    this.canvas.addEventListener("keydown", (event) => actOnCameraKey(this, event));
    this.#theme();
  }

  #resize() {
    this.root.classList.toggle("pv-narrow", this.root.clientWidth < 720);
    this.root.classList.toggle("pv-tiny", this.root.clientWidth < 460);
    this.root.classList.toggle("pv-compact", this.root.clientWidth >= 720 && this.root.clientWidth < 1120);
    this.stage?.resize(this.picture.clientWidth, this.picture.clientHeight);
  }

  #theme() {
    this.stage?.setTheme(document.body.classList.contains("dark") ? "dark" : "light");
    this.#drawBoxes();
  }

  // ---- what the server says

  apply(value) {
    if (this.isDisposed || !value || typeof value !== "object") return;
    const parts = Array.isArray(value.parts) ? value.parts : [];
    const isOtherMesh = value.mesh_key !== this.value.mesh_key;
    this.value = { ...value, parts };
    this.byId = new Map(parts.map((part) => [part.id, part]));
    if (isOtherMesh) {
      Object.assign(this.view, { selected: new Set(), hidden: new Set(), hovered: null, explode: 0 });
      this.prompt.isOn = false;
    }
    this.view.selected = onlyKnown(this.view.selected, this.byId);
    this.view.hidden = onlyKnown(this.view.hidden, this.byId, [NO_PART]);
    clearTimeout(this.editTimer);
    this.pendingRevision = null;
    this.#showParts(parts, value.editable === true);
    this.downloads.update(Array.isArray(value.downloads) ? value.downloads : []);
    this.prompt.apply(value);
    this.boxes.apply(value, isOtherMesh);
    this.#load();
    this.refresh();
  }

  // Progress comes several times a second with the same parts: nothing is drawn anew for it.
  #showParts(parts, editable) {
    const key = JSON.stringify([parts, editable]);
    if (key === this.partsKey) return;
    this.partsKey = key;
    this.table.setParts(parts, editable);
    this.stage?.setRows(new Map(parts.map(({ id, aabb }) => [id, boxFrom(aabb)]).filter(([, box]) => box)));
    this.stage?.setColours((id) => (this.byId.has(id) ? safeColour(this.byId.get(id).colour) : null));
  }

  async #load() {
    const url = ownUrl(this.value.glb_url);
    const key = this.value.mesh_key;
    if (!this.stage) return;
    if (url === null) {
      this.fetching?.abort();
      this.fetching = null;
      this.problem = null;
      if (this.loaded.url) this.stage.setModel(null, { keepCamera: false });
      this.loaded = { url: null, key: this.loaded.key === this.value.mesh_key ? this.loaded.key : null };
      return;
    }
    if (url === this.loaded.url || url === this.fetching?.url) return;
    if (this.fetching?.key === key && this.value.state in BUSY) return; // a preview that renews itself: first what is on its way
    this.fetching?.abort();
    const fetching = Object.assign(new AbortController(), { url, key });
    this.fetching = fetching;
    this.problem = null;
    try {
      const model = await loadModel(url, fetching.signal);
      if (this.fetching !== fetching || this.isDisposed) return model.dispose();
      this.fetching = null;
      this.#show(model, url, key);
    } catch (error) {
      if (this.fetching !== fetching) return;
      this.fetching = null;
      if (ownUrl(this.value.glb_url) === url) this.#tellMissing(url, error);
    }
    if (ownUrl(this.value.glb_url) !== url) this.#load();
  }

  // A file that was replaced is no news as long as the next one comes.
  #tellMissing(url, error) {
    const tell = () => ownUrl(this.value.glb_url) === url && this.loaded.url !== url && this.#report(`The 3D view could not be loaded: ${error.message}. Reload the page, or run again.`);
    this.replacedTimer = setTimeout(tell, error.isReplaced ? REPLACED_PATIENCE_MS : 0);
    this.refresh();
  }

  #show(model, url, key) {
    const keepCamera = key === this.loaded.key;
    this.loaded = { url, key };
    this.problem = null;
    Object.assign(this.stage.view, { hidden: this.view.hidden, explode: this.view.explode });
    this.stage.setModel(model, { keepCamera });
    this.stage.setWire(this.view.wire);
    this.#resize();
    this.refresh();
  }

  #report(problem) {
    this.problem = problem;
    this.refresh();
  }

  // ---- what is shown

  refresh() {
    const { value, view } = this;
    const hasModel = Boolean(this.stage?.model);
    this.stage?.setHidden(view.hidden);
    this.stage?.setSelection(view.selected, view.hovered);
    this.table.setSelected(view.selected);
    this.table.setHovered(view.hovered);
    this.table.setVisible((id) => !view.hidden.has(id));
    this.viewBar.update({ ...view, hasModel });
    this.cuts.show(this.stage, view.cuts);
    this.editBar.update({ ...view, parts: value.parts, kind: value.kind, canEdit: this.canEdit, canUndo: value.can_undo === true, isPending: this.pendingRevision !== null });
    this.prompt.update({ selected: value.parts.filter(({ id }) => view.selected.has(id)), hasModel: hasModel && this.loaded.key === value.mesh_key, canSend: this.pendingRevision === null });
    this.#drawBoxes();
    this.root.classList.toggle("pv-aiming", this.prompt.isAiming);
    this.root.classList.toggle("pv-editing", this.boxes.state.isActive);
    this.overlay.show(value, { hasModel, isFetching: Boolean(this.fetching), local: this.problem });
    this.root.dataset.state = value.state;
    this.root.classList.toggle("pv-has-model", hasModel);
    this.root.setAttribute("aria-busy", String(Boolean(this.fetching)));
    setText(this.facts, hasModel ? factsText(value, this.stage.model.faces) : "");
  }

  #drawBoxes() {
    const { value, view, stage, byId, boxes } = this;
    const model = stage?.model ?? null;
    const selected = value.parts.filter(({ id }) => view.selected.has(id)).map((part) => ({ ...part, own: boxFrom(part.aabb) ?? model?.boxOf(part.id) }));
    boxes.update({ selected, extent: model?.extent(), hasModel: Boolean(model) && this.loaded.key === value.mesh_key, canSend: this.pendingRevision === null });
    if (model) stage.boxes.show(boxes.drawn({ model, byId, view, accent: stage.accent }));
  }

  // A click means one thing: the mode that was switched on ends the other.
  #switched(other, mode) {
    if (mode.isOn) other.isOn = false;
    this.refresh();
  }

  get canEdit() {
    const { editable, state } = this.value;
    return editable === true && ["done", "partial", "ready", "error"].includes(state) && this.pendingRevision === null;
  }

  // ---- what the person does

  select(ids, { reveal = null } = {}) {
    this.view.selected = ids;
    this.refresh();
    if (reveal !== null) this.table.setSelected(ids, { reveal });
    clearTimeout(this.selectTimer);
    this.selectTimer = setTimeout(() => this.trigger("select", { action: "select", part_ids: [...ids], revision: this.value.revision }), SELECT_DELAY_MS);
  }

  #click(x, y, additive) {
    if (this.prompt.isOn) this.prompt.ask(this.stage.surfaceAt(x, y));
    else this.pick(this.stage.pickAt(x, y), additive);
  }

  pick(id, additive) {
    if (id === null || !this.byId?.has(id)) return additive ? undefined : this.select(new Set());
    const { selected } = this.view;
    const next = additive ? new Set(selected) : new Set([id]);
    if (additive && !next.delete(id)) next.add(id);
    return this.select(next, { reveal: id });
  }

  hover(given, x, y) {
    const id = this.prompt.isOn && x !== undefined ? null : given; // the pointer aims, it does not pick
    const name = id === NO_PART && this.value.kind === "parts" ? "No part" : this.byId?.get(id)?.name;
    this.tip.hidden = name === undefined || x === undefined;
    this.canvas.style.cursor = name === undefined ? "" : "pointer";
    if (!this.tip.hidden) this.#placeTip(name, x, y);
    if (this.view.hovered === id) return;
    this.view.hovered = id;
    this.stage?.setSelection(this.view.selected, id);
    this.table.setHovered(id);
  }

  #placeTip(name, x, y) {
    setText(this.tip, name);
    const area = this.picture.getBoundingClientRect();
    const left = Math.min(x - area.left + 14, area.width - this.tip.offsetWidth - 6);
    this.tip.style.transform = `translate(${Math.max(6, left)}px, ${Math.max(6, y - area.top - 34)}px)`;
  }

  setHidden(hidden) {
    this.view.hidden = hidden;
    this.refresh();
  }

  toggleVisible(id) {
    const hidden = new Set(this.view.hidden);
    if (!hidden.delete(id)) hidden.add(id);
    this.setHidden(hidden);
  }

  isolate() {
    const { selected } = this.view;
    if (selected.size === 0) return;
    this.setHidden(new Set([NO_PART, ...this.value.parts.map((part) => part.id)].filter((id) => !selected.has(id))));
    this.stage?.fit();
  }

  setExplode(amount) {
    this.view.explode = Math.min(1, Math.max(0, amount));
    this.stage?.setExplode(this.view.explode);
    this.viewBar.update({ ...this.view, hasModel: Boolean(this.stage?.model) });
  }

  toggle(what) {
    this.view[what] = !this.view[what];
    if (what === "zUp") this.stage?.setZUp(this.view.zUp);
    else if (what === "wire") this.stage?.setWire(this.view.wire);
    this.refresh();
  }

  look(name) {
    this.stage?.fit(name === "fit" ? undefined : { view: name });
  }

  async savePicture() {
    if (!this.stage?.model) return;
    const background = getComputedStyle(this.picture).backgroundColor;
    const blob = await this.stage.picture(background);
    const link = el("a", { href: URL.createObjectURL(blob), download: "parts.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.();
  }

  startRename() {
    const [id] = this.view.selected;
    if (this.canEdit && this.view.selected.size === 1) this.table.startRename(id);
  }

  edit(action, { ids = [...this.view.selected], name } = {}) {
    if (!this.canEdit) return;
    if (action === "merge" && ids.length < 2) return;
    if (action === "split" && ids.length !== 1) return;
    if (action === "undo" && !this.value.can_undo) return;
    const payload = { action, part_ids: action === "undo" ? [] : ids, revision: this.value.revision };
    if (name !== undefined) payload.name = name;
    this.#send(payload);
  }

  // One thing at a time: the next may be sent when the server answered, or seems not to.
  #send(payload) {
    this.pendingRevision = this.value.revision ?? 0;
    this.editTimer = setTimeout(() => {
      this.pendingRevision = null;
      this.prompt.forget();
      this.boxes.forget();
      this.refresh();
    }, EDIT_PATIENCE_MS);
    this.refresh();
    this.trigger("submit", payload);
  }

  // The keyboard's way to aim: turn the object until the middle of the picture is on the point.
  promptAtMiddle() {
    const area = this.canvas.getBoundingClientRect();
    this.prompt.ask(this.stage.surfaceAt(area.left + area.width / 2, area.top + area.height / 2));
  }

  dispose() {
    this.isDisposed = true;
    this.fetching?.abort();
    this.sizes.disconnect();
    this.themes.disconnect();
    [this.editTimer, this.selectTimer, this.replacedTimer].forEach(clearTimeout);
    this.prompt.dispose();
    this.boxes.dispose();
    this.stage?.dispose();
  }
}

function onlyKnown(ids, known, others = []) {
  const kept = [...ids].filter((id) => known.has(id) || others.includes(id));
  return kept.length === ids.size ? ids : new Set(kept);
}

function mount(element, props, trigger, watch) {
  const viewer = new PartViewer(element, trigger);
  viewer.apply(props.value);
  watch("value", () => viewer.apply(props.value));
}

window.PartwiseViewer = { mount };
window.dispatchEvent(new Event("partwise-viewer"));
