// What lies over the picture: the state of the work, its progress, errors, the stale banner.

import { el, formatCount, icon, setText } from "./dom.js";
import { PROGRESS } from "./table.js";

const HINT = "Drop a mesh or pick an example";
export const BUSY = { checking: "Checking the file", queued: "Waiting in the queue", loading: "Loading", running: "Working", cancelling: "Stopping" };
const BANNERS = {
  stale: "The input has changed since this result. Run again to renew it.",
  partial: "Some parts could not be made; the others are ready.",
};

export function factsText({ parts, engine, elapsed_s: seconds, kind }, faces) {
  const pieces = [];
  const made = parts.filter(({ state }) => !(state in PROGRESS)).length;
  if (made < parts.length) pieces.push(`${made} of ${parts.length} parts`);
  else if (parts.length) pieces.push(`${made} ${kind === "completed" ? "closed " : ""}part${made > 1 ? "s" : ""}`);
  pieces.push(`${formatCount(faces)} faces`);
  if (engine) pieces.push(String(engine));
  if (Number.isFinite(seconds)) pieces.push(`${seconds.toFixed(1)} s`);
  return pieces.join(" · ");
}

export class Overlay {
  constructor() {
    this.title = el("p", { class: "pv-card-title" });
    this.detail = el("p", { class: "pv-card-detail" });
    this.fill = el("div", { class: "pv-bar-fill" });
    this.bar = el("div", { class: "pv-bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, this.fill);
    this.sign = el("div", { class: "pv-card-sign" });
    this.card = el("div", { class: "pv-card" }, this.sign, el("div", { class: "pv-card-text" }, this.title, this.detail, this.bar));
    this.status = el("div", { class: "pv-sr", role: "status", "aria-live": "polite" });
    this.alert = el("div", { class: "pv-alert-slot", role: "alert" });
    this.root = el("div", { class: "pv-overlay" }, this.card, this.alert);
  }

  // `local`: a problem found in the browser (file not loaded, no WebGL), which wins over the server's state.
  show(value, { hasModel, isFetching, local }) {
    const state = value.state ?? "empty";
    const problem = local ?? (state === "error" ? value.message || "Something went wrong." : "");
    this.#alert(problem);
    const isBusy = state in BUSY;
    const banner = BANNERS[state];
    const isEmpty = !isBusy && !hasModel && !isFetching && !problem && !banner;
    const kind = problem ? "" : isBusy ? "busy" : banner ? state : isFetching ? "fetching" : isEmpty ? "empty" : "";
    this.card.hidden = kind === "";
    this.card.className = `pv-card pv-card-${kind}${hasModel && kind !== "empty" ? " pv-card-top" : ""}`;
    this.#fill(kind, value);
    this.#announce(value, kind);
  }

  #fill(kind, value) {
    const { state, message = "", stage = "", progress = null } = value;
    const texts = {
      busy: [message || BUSY[state], stage && stage !== message ? stage : ""],
      fetching: ["Loading the 3D view", ""],
      empty: [message || HINT, ""],
      stale: [message || BANNERS.stale, ""],
      partial: [message || BANNERS.partial, ""],
    }[kind] ?? ["", ""];
    setText(this.title, texts[0]);
    this.#setSign(kind);
    this.bar.hidden = kind !== "busy";
    const share = typeof progress === "number" && Number.isFinite(progress) ? Math.min(1, Math.max(0, progress)) : null;
    this.bar.classList.toggle("pv-bar-endless", share === null);
    const detail = [texts[1], kind === "busy" && share !== null ? `${Math.round(100 * share)}\u2009%` : ""].filter(Boolean).join(" · ");
    setText(this.detail, detail);
    this.detail.hidden = detail === "";
    this.fill.style.width = share === null ? "" : `${(100 * share).toFixed(1)}%`;
    this.bar.setAttribute("aria-label", texts[1] || texts[0] || "Progress");
    if (share === null) this.bar.removeAttribute("aria-valuenow");
    else this.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
  }

  #setSign(kind) {
    if (this.sign.dataset.kind === kind) return;
    this.sign.dataset.kind = kind;
    const drawing = { empty: "drop", stale: "warn", partial: "warn" }[kind];
    this.sign.replaceChildren(drawing ? icon(drawing) : el("span", { class: "pv-spinner" }));
  }

  #alert(problem) {
    if (this.alert.dataset.text === problem) return;
    this.alert.dataset.text = problem;
    this.alert.replaceChildren();
    if (problem) this.alert.append(el("div", { class: "pv-card pv-card-error" }, el("div", { class: "pv-card-sign" }, icon("warn")), el("p", { class: "pv-card-title", text: problem })));
  }

  #announce({ state, message = "", stage = "", parts = [] }, kind) {
    const told = { busy: stage || message || BUSY[state], stale: message || BANNERS.stale, partial: message || BANNERS.partial }[kind];
    setText(this.status, told ?? (state === "done" ? `Done: ${parts.length} parts.` : ""));
  }
}
