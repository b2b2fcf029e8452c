// The 3D picture: renderer, lights, the model and its look, picking. Draws only when something changed.

import { Color, Group, Scene, Vector2, Vector3, WebGLRenderer } from "three";
import { BoxView } from "./boxlines.js";
import { CameraRig } from "./camera.js";
import { cornersOf, unionBox } from "./geometry.js";
import { addLights, LOOKS } from "./lights.js";
import { MaskLayer } from "./masks.js";
import { DECORATION_LAYER } from "./model.js";
import { Outline } from "./outline.js";
import { GroundShadow } from "./shadow.js";
import { surfacePoint } from "./surface.js";

const SLOW_FRAME_MS = 45; // above it, what moves is drawn as a draft, and in full once it rests
const REST_MS = 150;
const BIG_MODEL_FACES = 300_000;

export class Stage {
  // `on`: hover(id | null, x, y), click(x, y, additive), lost(), restored(), and `boxes`: what a drag of
  // a box's handle does (see handles.js); x, y on the page.
  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on;
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, powerPreference: "high-performance" });
    this.renderer.autoClear = false;
    this.renderer.debug.checkShaderErrors = false;
    this.scene = new Scene();
    this.world = new Group(); // turned for the up axis
    this.frame = new Group(); // brings the model to unit size around the origin
    this.world.add(this.frame);
    this.scene.add(this.world);
    this.outline = new Outline();
    this.shadow = new GroundShadow();
    this.masks = new MaskLayer(() => this.requestRender(false));
    this.model = null;
    this.rows = new Map(); // part id → AABB of each row of the table
    this.view = { selected: new Set(), hidden: new Set(), hovered: null, explode: 0, wire: false, zUp: false };
    this.theme = "light";
    this.pending = 0;
    this.isLost = false;
    this.frames = 0;
    this.frameMs = 0;
    this.movedAt = 0;
    this.restTimer = 0;
    this.rig = new CameraRig(canvas, () => this.requestRender());
    this.camera = this.rig.camera;
    this.boxes = new BoxView(canvas, this.camera, { ...on.boxes, hover: () => on.hover(null), changed: (isDragged) => this.#redrawBoxes(isDragged) });
    this.camera.layers.enable(DECORATION_LAYER);
    this.scene.add(this.shadow.plane, this.camera);
    this.sky = addLights(this.scene, this.camera);
    this.setTheme("light");
    this.#listen();
  }

  #listen() {
    const { canvas } = this;
    let pressed = null;
    canvas.addEventListener("pointerdown", (event) => {
      pressed = event.isPrimary && event.button === 0 ? { x: event.clientX, y: event.clientY } : null;
      canvas.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!pressed || !event.isPrimary || Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 6) return;
      this.on.click(event.clientX, event.clientY, event.shiftKey || event.ctrlKey || event.metaKey);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      if (event.buttons !== 0) return this.on.hover(null, 0, 0); // the parts move under the pointer
      this.pointer = { x: event.clientX, y: event.clientY };
      this.#scheduleHover();
    });
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.on.hover(null, 0, 0);
    });
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.isLost = true;
      if (!this.isDisposed) this.on.lost();
    });
    canvas.addEventListener("webglcontextrestored", () => {
      this.isLost = false;
      this.shadow.isFresh = false;
      this.on.restored();
      this.requestRender();
    });
  }

  #scheduleHover() {
    if (this.hoverPending) return;
    this.hoverPending = true;
    requestAnimationFrame(() => {
      this.hoverPending = false;
      if (this.pointer && !this.rig.isMoving) this.on.hover(this.pickAt(this.pointer.x, this.pointer.y), this.pointer.x, this.pointer.y);
    });
  }

  resize(width, height) {
    if (width < 2 || height < 2) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (this.width === width && this.height === height && this.ratio === ratio) return;
    Object.assign(this, { width, height, ratio });
    this.renderer.setPixelRatio(ratio);
    this.masks.setRatio(ratio);
    this.renderer.setSize(width, height, false);
    this.fine = ratio < 1.5 ? 2 : ratio; // part numbers are drawn without smoothing, so in finer steps
    this.outline.resize(Math.floor(width * this.fine), Math.floor(height * this.fine), this.fine);
    this.rig.setAspect(width / height);
    if (this.rig.isFitted) this.fit({ glide: false });
    this.requestRender();
  }

  setTheme(theme) {
    this.theme = theme;
    const look = LOOKS[theme];
    this.outline.colours(look);
    this.masks.setTheme(theme);
    this.shadow.plane.material.opacity = look.shadow;
    this.sky.color.set(look.sky);
    this.sky.groundColor.set(look.ground);
    if (this.model && this.view.wire) this.model.showWires(true, look.wire);
    this.recolour();
  }

  // `rows`: Map part id → AABB, of parts too that the file does not hold yet.
  setRows(rows) {
    this.rows = rows;
  }

  // Rows that are to be shown but not drawn yet; they have their place in the picture.
  #coming() {
    return new Map([...this.rows].filter(([id]) => !this.model.parts.has(id) && !this.view.hidden.has(id)));
  }

  // Puts another model in place of the one there. With `keepCamera` nothing moves. The old one is let
  // go of after the new one was drawn, so that what both need is not made anew.
  setModel(model, { keepCamera }) {
    const isKept = keepCamera && Boolean(this.normal);
    this.#release();
    this.model?.group.removeFromParent();
    this.released = this.model;
    this.model = model;
    this.masks.attach(model);
    this.boxes.attach(model);
    if (!model) this.#release();
    else {
      if (!isKept) this.normal = normalisation(unionBox([...model.boxes(), ...this.#coming().values()]));
      this.frame.scale.setScalar(this.normal.scale);
      this.frame.position.set(...this.normal.centre).multiplyScalar(-this.normal.scale);
      this.frame.add(model.group);
      model.prepareExplosion(this.rows);
      this.outline.attach(model);
      this.#applyVisibility();
      model.explode(this.view.explode);
      this.recolour();
    }
    this.shadow.isFresh = false;
    if (isKept) {
      this.movedAt = 0; // in full at once: a draft between two previews would flicker
      return this.requestRender(false);
    }
    this.frameMs = model && model.faces > BIG_MODEL_FACES ? 2 * SLOW_FRAME_MS : 0; // until it is measured
    if (model) this.fit({ view: "home", glide: false });
    this.requestRender();
  }

  #release() {
    this.released?.dispose();
    this.released = null;
  }

  setWire(wire) {
    this.view.wire = wire;
    this.model?.showWires(wire, LOOKS[this.theme].wire);
    this.requestRender();
  }

  #redrawBoxes(isDragged) {
    if (isDragged) this.movedAt = performance.now();
    this.requestRender(false);
  }

  get accent() {
    return LOOKS[this.theme].accent;
  }

  setColours(colourOf) {
    this.colourOf = colourOf;
    this.recolour();
  }

  // Selected parts keep their colour and glow a little; while there is a selection the others step back.
  recolour() {
    if (!this.model) return;
    const { selected, hovered } = this.view;
    const dim = new Color(LOOKS[this.theme].dim);
    for (const part of this.model.parts.values()) {
      this.model.colour(part, this.colourOf?.(part.id));
      const { material } = part;
      const isDimmed = selected.size > 0 && !selected.has(part.id);
      if (!material.userData.ownLook) material.color.copy(part.base);
      if (isDimmed) material.color.lerp(dim, part.id === hovered ? 0.45 : 0.72);
      const glow = (part.id === hovered ? 0.14 : 0) + (selected.has(part.id) ? 0.07 : 0);
      material.emissive.copy(part.base);
      for (const each of [material, part.cutMaterial]) if (each) each.emissiveIntensity = glow;
    }
    this.requestRender(false);
  }

  setSelection(selected, hovered) {
    if (this.view.selected === selected && this.view.hovered === hovered) return;
    if (this.view.selected !== selected) this.outline.isFresh = false;
    Object.assign(this.view, { selected, hovered });
    this.recolour();
  }

  setHidden(hidden) {
    if (this.view.hidden === hidden) return;
    this.view.hidden = hidden;
    this.#applyVisibility();
    this.shadow.isFresh = false;
    this.requestRender();
  }

  #applyVisibility() {
    if (!this.model) return;
    for (const part of this.model.parts.values()) part.group.visible = !this.view.hidden.has(part.id);
  }

  setExplode(amount) {
    this.view.explode = amount;
    if (!this.model) return;
    this.model.explode(amount);
    this.shadow.isFresh = false;
    this.rig.makeRoom(this.worldBox());
  }

  setZUp(zUp) {
    this.view.zUp = zUp;
    this.world.rotation.x = zUp ? -Math.PI / 2 : 0;
    this.shadow.isFresh = false;
    this.fit({ glide: false });
  }

  worldBox() {
    this.world.updateMatrixWorld(true);
    const corners = this.model.shownBoxes(this.view.explode, this.#coming()).flatMap(cornersOf);
    const moved = corners.map((corner) => new Vector3(...corner).applyMatrix4(this.frame.matrixWorld).toArray());
    return unionBox(moved.map((corner) => ({ min: corner, max: corner })));
  }

  fit(options) {
    if (this.model) this.rig.fit(this.worldBox(), options);
  }

  // `moved`: false where only colours changed, so that the picture of part numbers still holds.
  requestRender(moved = true) {
    if (moved) {
      this.outline.isFresh = false;
      this.movedAt = performance.now();
    }
    if (this.pending || this.isLost) return;
    this.pending = requestAnimationFrame((now) => {
      this.pending = 0;
      this.rig.step(now);
      this.render();
    });
  }

  get isIdle() {
    return !this.pending && !this.rig.isMoving && !this.restTimer;
  }

  render() {
    if (this.isLost || !this.width) return;
    const { renderer, scene, camera, model } = this;
    const isDraft = Boolean(model) && this.frameMs > SLOW_FRAME_MS && performance.now() - this.movedAt < REST_MS;
    this.rig.setClipPlanes();
    model?.showDraft(isDraft);
    if (model && !this.shadow.isFresh && !isDraft) this.shadow.update(renderer, scene, this.worldBox());
    this.shadow.plane.visible = Boolean(model) && this.shadow.isFresh;
    const withLines = model && !isDraft;
    if (withLines && !this.outline.isFresh) this.outline.renderIds(renderer, scene, camera, model, this.view.selected);
    this.boxes.arrange();
    renderer.setClearColor(0, 0);
    renderer.clear();
    renderer.render(scene, camera);
    this.#release();
    if (withLines) this.outline.compose(renderer);
    this.frames += 1;
    if (isDraft) this.#renderWhenAtRest();
    else this.#measure();
  }

  #renderWhenAtRest() {
    clearTimeout(this.restTimer);
    this.restTimer = setTimeout(() => {
      this.restTimer = 0;
      this.requestRender(false);
    }, REST_MS + 10);
  }

  // How long the graphics processor takes for a full frame: the time until a fence is passed.
  #measure() {
    if (this.isMeasuring || !this.model) return;
    const gl = this.renderer.getContext();
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    if (!fence) return;
    gl.flush();
    const start = performance.now();
    this.isMeasuring = true;
    const poll = () => {
      const isOver = this.isDisposed || this.isLost || gl.getSyncParameter(fence, gl.SYNC_STATUS) === gl.SIGNALED;
      if (!isOver && performance.now() - start < 5000) return setTimeout(poll, 4);
      gl.deleteSync(fence);
      this.isMeasuring = false;
      this.frameMs = 0.5 * (this.frameMs + performance.now() - start);
    };
    setTimeout(poll, 4);
  }

  // The part under a point of the page, or null.
  pickAt(clientX, clientY) {
    if (!this.model || this.isLost) return null;
    this.model.showDraft(false);
    if (!this.outline.isFresh) this.outline.renderIds(this.renderer, this.scene, this.camera, this.model, this.view.selected);
    const area = this.canvas.getBoundingClientRect();
    return this.outline.pick(this.renderer, (clientX - area.left) * this.fine, (clientY - area.top) * this.fine);
  }

  // Where a point of the page meets the shown surface, in the coordinates of the file, or null.
  surfaceAt(clientX, clientY) {
    if (!this.model || this.isLost) return null;
    this.model.showDraft(false);
    const area = this.canvas.getBoundingClientRect();
    const hit = surfacePoint(this.model, this.camera, new Vector2((2 * (clientX - area.left)) / area.width - 1, 1 - (2 * (clientY - area.top)) / area.height));
    if (hit) this.masks.remember(hit);
    return hit?.point ?? null;
  }

  // A point of the page where the part is seen, or null.
  pointOf(id) {
    if (!this.model || this.isLost) return null;
    this.model.showDraft(false);
    this.outline.renderIds(this.renderer, this.scene, this.camera, this.model, this.view.selected);
    const at = this.outline.findPixel(this.renderer, id);
    const area = this.canvas.getBoundingClientRect();
    return at && { x: area.left + at.x / this.fine, y: area.top + at.y / this.fine };
  }

  // The box on the page that the shown parts fill, or null.
  extent() {
    if (!this.model || this.isLost) return null;
    const area = this.canvas.getBoundingClientRect();
    this.camera.updateMatrixWorld();
    const points = cornersOf(this.worldBox()).map((corner) => new Vector3(...corner).project(this.camera));
    const x = points.map((point) => area.left + ((point.x + 1) / 2) * area.width);
    const y = points.map((point) => area.top + ((1 - point.y) / 2) * area.height);
    return { left: Math.min(...x), right: Math.max(...x), top: Math.min(...y), bottom: Math.max(...y) };
  }

  // The picture as a PNG blob on a plain background.
  picture(background) {
    this.movedAt = 0;
    this.render();
    const copy = document.createElement("canvas");
    copy.width = this.canvas.width;
    copy.height = this.canvas.height;
    const context = copy.getContext("2d");
    context.fillStyle = background;
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(this.canvas, 0, 0);
    return new Promise((resolve) => copy.toBlob(resolve, "image/png"));
  }

  dispose() {
    this.isDisposed = true;
    cancelAnimationFrame(this.pending);
    clearTimeout(this.restTimer);
    this.model?.dispose();
    this.model = null;
    this.#release();
    this.masks.dispose();
    this.boxes.dispose();
    this.outline.dispose();
    this.shadow.dispose();
    this.rig.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }
}

function normalisation({ min, max }) {
  const size = Math.hypot(...max.map((v, i) => v - min[i]));
  return { scale: size > 0 ? 1 / size : 1, centre: min.map((v, i) => (v + max[i]) / 2) };
}
