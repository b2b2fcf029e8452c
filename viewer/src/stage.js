// The 3D picture: renderer, camera, lights, orbiting, picking. Draws only when something changed.

import { Color, DirectionalLight, Group, HemisphereLight, MathUtils, PerspectiveCamera, Scene, Spherical, Vector3, WebGLRenderer } from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { cornersOf, fitDistance, unionBox } from "./geometry.js";
import { DECORATION_LAYER } from "./model.js";
import { Outline } from "./outline.js";
import { GroundShadow } from "./shadow.js";

const HOME = new Vector3(0.72, 0.42, 1).normalize();
const VIEWS = { home: HOME, front: new Vector3(0, 0, 1), side: new Vector3(1, 0, 0), top: new Vector3(0, 1, 1e-4).normalize() };
const FIELD_OF_VIEW = 32;
const GLIDE_MS = 320;
const SLOW_FRAME_MS = 45; // above it, what moves is drawn as a draft, and in full once it rests
const REST_MS = 150;
const BIG_MODEL_FACES = 300_000;
const LOOKS = {
  light: { line: "#0b1220", lineAlpha: 0.72, accent: "#e8590c", dim: "#d3d9e3", wire: "#0b1220", shadow: 0.55, sky: "#ffffff", ground: "#b9c2d2" },
  dark: { line: "#04070d", lineAlpha: 0.85, accent: "#ffb13d", dim: "#3a4354", wire: "#e8eefb", shadow: 0.85, sky: "#f4f7ff", ground: "#8e99ad" },
};

export class Stage {
  // `on`: hover(id | null, x, y), pick(id | null, additive), lost(), restored().
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
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.01, 100);
    this.camera.layers.enable(DECORATION_LAYER);
    this.outline = new Outline();
    this.shadow = new GroundShadow();
    this.scene.add(this.shadow.plane, this.camera);
    this.#addLights();
    this.model = null;
    this.view = { selected: new Set(), hidden: new Set(), hovered: null, explode: 0, boxes: false, wire: false, zUp: false };
    this.theme = "light";
    this.glide = null;
    this.pending = 0;
    this.isLost = false;
    this.frames = 0;
    this.frameMs = 0;
    this.movedAt = 0;
    this.restTimer = 0;
    this.fittedDistance = null; // set while the camera stands where fit() put it
    this.reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#addControls();
    this.setTheme("light");
    this.#listen();
  }

  #addLights() {
    this.sky = new HemisphereLight(0xffffff, 0xb9c2d2, 1.65);
    const key = new DirectionalLight(0xffffff, 1.9);
    const fill = new DirectionalLight(0xdfe8ff, 0.5);
    key.position.set(-0.7, 1.1, 1.2); // both travel with the camera, so that what is in front is always lit
    fill.position.set(1.3, -0.2, 0.5);
    this.camera.add(key, fill, key.target, fill.target);
    key.target.position.set(0, 0, -1);
    fill.target.position.set(0, 0, -1);
    for (const light of [this.sky, key, fill]) light.layers.enable(DECORATION_LAYER);
    this.scene.add(this.sky);
  }

  #addControls() {
    this.controls = new OrbitControls(this.camera, this.canvas);
    Object.assign(this.controls, { enableDamping: !this.reducedMotion, dampingFactor: 0.14, rotateSpeed: 0.9, zoomSpeed: 1.1, minDistance: 0.02, maxDistance: 40, zoomToCursor: true });
    this.controls.addEventListener("start", () => {
      this.isMoving = true;
      this.glide = null;
      this.fittedDistance = null;
    });
    this.controls.addEventListener("end", () => {
      this.isMoving = false;
      this.requestRender();
    });
    this.controls.addEventListener("change", () => this.requestRender());
    this.camera.position.copy(HOME).multiplyScalar(3);
    this.controls.update();
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
      this.on.pick(this.pickAt(event.clientX, event.clientY), event.shiftKey || event.ctrlKey || event.metaKey);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch" || event.buttons !== 0) return;
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
      if (this.pointer && !this.isMoving) this.on.hover(this.pickAt(this.pointer.x, this.pointer.y), this.pointer.x, this.pointer.y);
    });
  }

  resize(width, height) {
    if (width < 2 || height < 2) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    if (this.width === width && this.height === height && this.ratio === ratio) return;
    Object.assign(this, { width, height, ratio });
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(width, height, false);
    this.fine = ratio < 1.5 ? 2 : ratio; // part numbers are drawn without smoothing, so in finer steps
    this.outline.resize(Math.floor(width * this.fine), Math.floor(height * this.fine), this.fine);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    if (this.fittedDistance !== null && this.model) this.fit({ glide: false });
    this.requestRender();
  }

  setTheme(theme) {
    this.theme = theme;
    const look = LOOKS[theme];
    this.outline.colours(look);
    this.shadow.plane.material.opacity = look.shadow;
    this.sky.color.set(look.sky);
    this.sky.groundColor.set(look.ground);
    if (this.model && this.view.wire) this.model.showWires(true, look.wire);
    this.recolour();
  }

  // Puts another model in place of the one there. With `keepCamera` nothing moves.
  setModel(model, { keepCamera }) {
    const first = !this.model;
    this.model?.dispose();
    this.model = model;
    if (model) {
      if (!keepCamera || first || !this.normal) this.normal = normalisation(model.bounds);
      this.frame.scale.setScalar(this.normal.scale);
      this.frame.position.set(...this.normal.centre).multiplyScalar(-this.normal.scale);
      this.frame.add(model.group);
      model.prepareExplosion();
      this.outline.attach(model);
      this.#applyVisibility();
      model.explode(this.view.explode);
      this.recolour();
    }
    this.shadow.isFresh = false;
    this.frameMs = model && model.faces > BIG_MODEL_FACES ? 2 * SLOW_FRAME_MS : 0; // until it is measured
    if (model && !(keepCamera && !first)) this.fit({ direction: HOME, glide: false });
    this.requestRender();
  }

  setDecorations({ boxes, wire }, aabbOf) {
    Object.assign(this.view, { boxes, wire });
    this.model?.showBoxes(boxes, aabbOf);
    this.model?.showWires(wire, LOOKS[this.theme].wire);
    this.requestRender();
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
      material.emissiveIntensity = glow;
    }
    this.requestRender(false);
  }

  setSelection(selected, hovered) {
    if (this.view.selected !== selected) this.outline.isFresh = false;
    Object.assign(this.view, { selected, hovered });
    this.recolour();
  }

  setHidden(hidden) {
    this.view.hidden = hidden;
    this.#applyVisibility();
    this.shadow.isFresh = false;
    this.requestRender();
  }

  #applyVisibility() {
    if (!this.model) return;
    for (const part of this.model.parts.values()) part.group.visible = !this.view.hidden.has(part.id);
  }

  // The camera steps back only as far as the parts need, and returns unless it was moved meanwhile.
  setExplode(amount) {
    this.view.explode = amount;
    if (!this.model) return;
    this.model.explode(amount);
    this.shadow.isFresh = false;
    const distance = this.camera.position.distanceTo(this.controls.target);
    const untouched = this.steppedBack !== undefined && Math.abs(distance - this.steppedBack) < 1e-4 * distance;
    const base = untouched ? this.stepBase : distance;
    const needed = Math.max(base, this.#distanceFor(this.controls.target, this.#axes(), 1.06));
    this.glide = null;
    this.#place(this.controls.target, this.#axes().toCamera, needed);
    this.stepBase = base;
    this.steppedBack = this.camera.position.distanceTo(this.controls.target);
    this.requestRender();
  }

  setZUp(zUp) {
    this.view.zUp = zUp;
    this.world.rotation.x = zUp ? -Math.PI / 2 : 0;
    this.shadow.isFresh = false;
    if (this.model) this.fit({ glide: false });
    this.requestRender();
  }

  worldBox() {
    this.world.updateMatrixWorld(true);
    const corners = this.model.shownBoxes(this.view.explode).flatMap(cornersOf);
    const moved = corners.map((corner) => new Vector3(...corner).applyMatrix4(this.frame.matrixWorld).toArray());
    return unionBox(moved.map((corner) => ({ min: corner, max: corner })));
  }

  #axes(direction) {
    const toCamera = direction ? direction.clone() : this.camera.position.clone().sub(this.controls.target).normalize();
    const right = new Vector3(0, 1, 0).cross(toCamera).normalize();
    return { toCamera, right, up: toCamera.clone().cross(right) };
  }

  #distanceFor(target, axes, margin) {
    return fitDistance(
      cornersOf(this.worldBox()),
      target.toArray(),
      { toCamera: axes.toCamera.toArray(), right: axes.right.toArray(), up: axes.up.toArray() },
      { fieldOfView: MathUtils.degToRad(FIELD_OF_VIEW), aspect: this.camera.aspect, margin },
    );
  }

  lookFrom(name) {
    this.fit({ direction: VIEWS[name] });
  }

  fit({ direction = null, glide = true } = {}) {
    if (!this.model) return;
    const box = this.worldBox();
    const target = new Vector3(...box.min).add(new Vector3(...box.max)).multiplyScalar(0.5);
    const axes = this.#axes(direction);
    const distance = this.#distanceFor(target, axes, 1.12);
    this.steppedBack = undefined;
    this.fittedDistance = distance;
    if (glide && !this.reducedMotion) this.#glideTo(target, axes.toCamera, distance);
    else this.#place(target, axes.toCamera, distance);
  }

  #place(target, toCamera, distance) {
    this.controls.target.copy(target);
    this.camera.position.copy(target).addScaledVector(toCamera, distance);
    this.controls.update();
    this.requestRender();
  }

  #glideTo(target, toCamera, distance) {
    const from = new Spherical().setFromVector3(this.camera.position.clone().sub(this.controls.target));
    const to = new Spherical().setFromVector3(toCamera.clone().multiplyScalar(distance));
    to.theta += 2 * Math.PI * Math.round((from.theta - to.theta) / (2 * Math.PI));
    this.glide = { start: performance.now(), from, to, fromTarget: this.controls.target.clone(), target };
    this.requestRender();
  }

  #stepGlide(now) {
    const { start, from, to, fromTarget, target } = this.glide;
    const t = Math.min(1, (now - start) / GLIDE_MS);
    const ease = t * t * (3 - 2 * t);
    const at = new Spherical(
      MathUtils.lerp(from.radius, to.radius, ease), MathUtils.lerp(from.phi, to.phi, ease), MathUtils.lerp(from.theta, to.theta, ease));
    if (t >= 1) this.glide = null;
    this.#place(fromTarget.clone().lerp(target, ease), new Vector3().setFromSpherical(at.makeSafe()).normalize(), at.radius);
  }

  // Turn by angles (radians) or zoom by a factor: the keyboard's way to move the camera.
  orbit(theta, phi, zoom = 1) {
    const at = new Spherical().setFromVector3(this.camera.position.clone().sub(this.controls.target));
    at.theta += theta;
    at.phi = MathUtils.clamp(at.phi + phi, 0.01, Math.PI - 0.01);
    this.glide = null;
    this.fittedDistance = null;
    this.#place(this.controls.target.clone(), new Vector3().setFromSpherical(at).normalize(), at.radius * zoom);
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
      if (this.glide) this.#stepGlide(now);
      else this.controls.update();
      this.render();
    });
  }

  get isIdle() {
    return !this.pending && !this.glide && !this.isMoving && !this.restTimer;
  }

  render() {
    if (this.isLost || !this.width) return;
    const { renderer, scene, camera, model } = this;
    const isDraft = Boolean(model) && this.frameMs > SLOW_FRAME_MS && performance.now() - this.movedAt < REST_MS;
    this.#clipPlanes();
    model?.showDraft(isDraft);
    if (model && !this.shadow.isFresh && !isDraft) this.shadow.update(renderer, scene, this.worldBox());
    this.shadow.plane.visible = Boolean(model) && this.shadow.isFresh;
    const withLines = model && !isDraft;
    if (withLines && !this.outline.isFresh) this.outline.renderIds(renderer, scene, camera, model, this.view.selected);
    renderer.setClearColor(0, 0);
    renderer.clear();
    renderer.render(scene, camera);
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

  #clipPlanes() {
    if (!this.model) return;
    const distance = this.camera.position.length();
    this.camera.near = Math.max(0.002, (distance - 4) * 0.5);
    this.camera.far = distance + 12;
    this.camera.updateProjectionMatrix();
  }

  // The part under a point of the page, or null.
  pickAt(clientX, clientY) {
    if (!this.model || this.isLost) return null;
    this.model.showDraft(false);
    if (!this.outline.isFresh) this.outline.renderIds(this.renderer, this.scene, this.camera, this.model, this.view.selected);
    const area = this.canvas.getBoundingClientRect();
    return this.outline.pick(this.renderer, (clientX - area.left) * this.fine, (clientY - area.top) * this.fine);
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
    this.outline.dispose();
    this.shadow.dispose();
    this.controls.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }
}

function normalisation(bounds) {
  const size = bounds.getSize(new Vector3()).length();
  return { scale: size > 0 ? 1 / size : 1, centre: bounds.getCenter(new Vector3()).toArray() };
}
