// The rows of buttons: what is done to parts (merge, split, rename, undo), how they are looked at, downloads.

import { el, icon, iconButton, ownUrl, setText } from "./dom.js";

export class EditBar {
  // `on`: merge(), split(), rename(), undo(), isolate(), showAll().
  constructor(on) {
    this.merge = iconButton("merge", "Merge", { text: true, title: "Merge the selected parts into one (M)", onClick: on.merge });
    this.split = iconButton("split", "Split", { text: true, title: "Split the part into its connected pieces (S)", onClick: on.split });
    this.rename = iconButton("rename", "Rename", { text: true, title: "Rename the part (F2)", onClick: on.rename });
    this.undo = iconButton("undo", "Undo", { text: true, title: "Undo the last change (Ctrl+Z)", onClick: on.undo });
    this.isolate = iconButton("isolate", "Isolate", { text: true, title: "Show only the selected parts (I)", onClick: on.isolate });
    this.showAll = iconButton("eye", "Show all", { text: true, title: "Show all parts again (A)", onClick: on.showAll });
    this.summary = el("p", { class: "pv-summary", "aria-live": "polite" });
    this.edits = el("div", { class: "pv-row", role: "group", "aria-label": "Change parts" }, this.merge, this.split, this.rename, this.undo);
    this.root = el("div", { class: "pv-edit", role: "toolbar", "aria-label": "Parts" }, this.edits);
    this.foot = el("div", { class: "pv-side-foot" }, this.summary, el("div", { class: "pv-row" }, this.isolate, this.showAll));
  }

  update({ selected, parts, hidden, kind, canEdit, canUndo, isPending }) {
    this.root.hidden = kind === "completed"; // closed parts are changed where they were cut
    const count = selected.size;
    this.merge.disabled = !canEdit || count < 2;
    this.split.disabled = !canEdit || count !== 1;
    this.rename.disabled = !canEdit || count !== 1;
    this.undo.disabled = !canEdit || !canUndo;
    this.isolate.disabled = count === 0;
    this.showAll.disabled = hidden.size === 0;
    this.edits.classList.toggle("pv-pending", isPending);
    setText(this.summary, count ? `${count} of ${parts.length} selected` : parts.length ? `${parts.length} part${parts.length > 1 ? "s" : ""}` : "");
  }
}

export class ViewBar {
  // `on`: explode(amount), view(name), boxes(), wire(), zUp(), picture(), full().
  // `extra`: a button that another keeps, with the box's; `cuts`: one that is there now and then.
  constructor(on, id, extra, cuts) {
    this.extra = extra;
    this.slider = el("input", { type: "range", id: `${id}-explode`, class: "pv-slider", min: 0, max: 1, step: 0.01, value: 0, title: "Move the parts apart",
      on: { input: () => on.explode(Number(this.slider.value)) } });
    this.boxes = iconButton("box", "Boxes of the parts (B)", { toggle: true, onClick: on.boxes });
    this.wire = iconButton("wire", "Wireframe (W)", { toggle: true, onClick: on.wire });
    this.up = el("button", { class: "pv-button pv-letters", type: "button", on: { click: on.zUp } });
    const views = [["Front", "front", "1"], ["Side", "side", "2"], ["Top", "top", "3"]].map(([text, name, key]) =>
      el("button", { class: "pv-button pv-letters", type: "button", text, title: `${text} view (${key})`, on: { click: () => on.view(name) } }));
    this.root = el("div", { class: "pv-view", role: "toolbar", "aria-label": "View" },
      el("div", { class: "pv-explode" }, el("label", { for: `${id}-explode`, class: "pv-explode-label" }, icon("explode"), el("span", { text: "Explode" })), this.slider),
      el("div", { class: "pv-row" }, iconButton("fit", "Fit to view (F)", { onClick: () => on.view("fit") }), el("div", { class: "pv-joined" }, ...views)),
      el("div", { class: "pv-row" }, extra, this.up, this.boxes, cuts, this.wire, iconButton("camera", "Save a picture (C)", { onClick: on.picture }), iconButton("full", "Full screen", { onClick: on.full })));
  }

  update({ explode, boxes, wire, zUp, hasModel }) {
    if (Number(this.slider.value) !== explode) this.slider.value = String(explode);
    this.slider.style.setProperty("--share", `${100 * explode}%`);
    this.slider.setAttribute("aria-valuetext", `${Math.round(100 * explode)} %`);
    this.boxes.setAttribute("aria-pressed", String(boxes));
    this.wire.setAttribute("aria-pressed", String(wire));
    setText(this.up, zUp ? "Z up" : "Y up");
    this.up.title = `The ${zUp ? "Z" : "Y"} axis of the file points up: change (U)`;
    for (const control of this.root.querySelectorAll("button, input")) if (control !== this.extra) control.disabled = !hasModel;
  }
}

export class Downloads {
  constructor() {
    this.list = el("div", { class: "pv-row" });
    this.root = el("nav", { class: "pv-downloads", "aria-label": "Downloads" }, el("span", { class: "pv-downloads-label", text: "Download" }), this.list);
    this.shown = "";
  }

  update(downloads) {
    const given = downloads.map(({ label, url }) => ({ label: String(label), href: ownUrl(url) })).filter(({ href }) => href);
    this.root.hidden = given.length === 0;
    const key = JSON.stringify(given);
    if (key === this.shown) return;
    this.shown = key;
    this.list.replaceChildren(...given.map(({ label, href }) => el("a", { class: "pv-download", href, download: "", title: `Download ${label}` }, icon("drop"), el("span", { text: label }))));
  }
}
