// The camera and how it moves: orbiting by hand, framing a box, gliding to a view, stepping back.

import { MathUtils, PerspectiveCamera, Spherical, Vector3 } from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { cornersOf, fitDistance } from "./geometry.js";

const HOME = new Vector3(0.72, 0.42, 1).normalize();
const VIEWS = { home: HOME, front: new Vector3(0, 0, 1), side: new Vector3(1, 0, 0), top: new Vector3(0, 1, 1e-4).normalize() };
const FIELD_OF_VIEW = 32;
const GLIDE_MS = 320;
const FIT_MARGIN = 1.12;
const EXPLODE_MARGIN = 1.06;

export class CameraRig {
  // `changed` is called whenever another picture is needed.
  constructor(canvas, changed) {
    this.changed = changed;
    this.camera = new PerspectiveCamera(FIELD_OF_VIEW, 1, 0.01, 100);
    this.reducedMotion = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.glide = null;
    this.isHeld = false; // a finger or a button moves it
    this.isFitted = false; // it stands where fit() put it
    this.stepBack = null; // { base, distance }: where an explosion moved it from and to
    this.controls = new OrbitControls(this.camera, canvas);
    Object.assign(this.controls, {
      enableDamping: !this.reducedMotion, dampingFactor: 0.14, rotateSpeed: 0.9, zoomSpeed: 1.1, minDistance: 0.02, maxDistance: 40, zoomToCursor: true,
    });
    this.camera.position.copy(HOME).multiplyScalar(3);
    this.controls.update();
    this.#listen();
  }

  #listen() {
    this.controls.addEventListener("start", () => {
      this.isHeld = true;
      this.glide = null;
      this.isFitted = false;
    });
    this.controls.addEventListener("end", () => {
      this.isHeld = false;
      this.changed();
    });
    this.controls.addEventListener("change", () => this.changed());
  }

  get isMoving() {
    return this.isHeld || this.glide !== null;
  }

  setAspect(aspect) {
    this.camera.aspect = aspect;
    this.camera.updateProjectionMatrix();
  }

  // The world is of unit size around the origin; what is exploded reaches a few units out.
  setClipPlanes() {
    const distance = this.camera.position.length();
    this.camera.near = Math.max(0.002, (distance - 4) * 0.5);
    this.camera.far = distance + 12;
    this.camera.updateProjectionMatrix();
  }

  // One step of what moves by itself; called once for each picture.
  step(now) {
    if (this.glide) this.#stepGlide(now);
    else this.controls.update();
  }

  // Frame a box, from a named view or from where the camera is.
  fit(box, { view = null, glide = true } = {}) {
    const target = new Vector3(...box.min).add(new Vector3(...box.max)).multiplyScalar(0.5);
    const axes = this.#axes(view === null ? null : VIEWS[view]);
    const distance = this.#distanceFor(box, target, axes, FIT_MARGIN);
    this.stepBack = null;
    this.isFitted = true;
    if (glide && !this.reducedMotion) this.#glideTo(target, axes.toCamera, distance);
    else this.#place(target, axes.toCamera, distance);
  }

  // Step back only as far as the box needs, and return as it shrinks unless moved by hand meanwhile.
  makeRoom(box) {
    const { target } = this.controls;
    const distance = this.camera.position.distanceTo(target);
    const isUntouched = this.stepBack !== null && Math.abs(distance - this.stepBack.distance) < 1e-4 * distance;
    const base = isUntouched ? this.stepBack.base : distance;
    const axes = this.#axes();
    this.glide = null;
    this.#place(target, axes.toCamera, Math.max(base, this.#distanceFor(box, target, axes, EXPLODE_MARGIN)));
    this.stepBack = { base, distance: this.camera.position.distanceTo(target) };
  }

  // Turn by angles (radians) or zoom by a factor: the keyboard's way to move the camera.
  orbit(theta, phi, zoom = 1) {
    const at = this.#spherical();
    at.theta += theta;
    at.phi = MathUtils.clamp(at.phi + phi, 0.01, Math.PI - 0.01);
    this.glide = null;
    this.isFitted = false;
    this.#place(this.controls.target.clone(), new Vector3().setFromSpherical(at).normalize(), at.radius * zoom);
  }

  #spherical() {
    return new Spherical().setFromVector3(this.camera.position.clone().sub(this.controls.target));
  }

  #axes(direction) {
    const toCamera = direction ? direction.clone() : this.camera.position.clone().sub(this.controls.target).normalize();
    const right = new Vector3(0, 1, 0).cross(toCamera).normalize();
    return { toCamera, right, up: toCamera.clone().cross(right) };
  }

  #distanceFor(box, target, { toCamera, right, up }, margin) {
    const axes = { toCamera: toCamera.toArray(), right: right.toArray(), up: up.toArray() };
    return fitDistance(cornersOf(box), target.toArray(), axes, { fieldOfView: MathUtils.degToRad(FIELD_OF_VIEW), aspect: this.camera.aspect, margin });
  }

  #place(target, toCamera, distance) {
    this.controls.target.copy(target);
    this.camera.position.copy(target).addScaledVector(toCamera, distance);
    this.controls.update();
    this.changed();
  }

  #glideTo(target, toCamera, distance) {
    const from = this.#spherical();
    const to = new Spherical().setFromVector3(toCamera.clone().multiplyScalar(distance));
    to.theta += 2 * Math.PI * Math.round((from.theta - to.theta) / (2 * Math.PI));
    this.glide = { start: performance.now(), from, to, fromTarget: this.controls.target.clone(), target };
    this.changed();
  }

  #stepGlide(now) {
    const { start, from, to, fromTarget, target } = this.glide;
    const t = MathUtils.clamp((now - start) / GLIDE_MS, 0, 1);
    const ease = t * t * (3 - 2 * t);
    const mix = (name) => MathUtils.lerp(from[name], to[name], ease);
    const at = new Spherical(mix("radius"), mix("phi"), mix("theta")).makeSafe();
    if (t >= 1) this.glide = null;
    this.#place(fromTarget.clone().lerp(target, ease), new Vector3().setFromSpherical(at).normalize(), at.radius);
  }

  dispose() {
    this.controls.dispose();
  }
}
