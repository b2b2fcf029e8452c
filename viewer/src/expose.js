// What tests and scripts see of a viewer: element.partwise.

import { FACES } from "./handles.js";

export function expose(viewer) {
  const surface = {
    parts: () => viewer.value.parts.map(({ id, name }) => ({
      id, name, isSelected: viewer.view.selected.has(id), isShown: !viewer.view.hidden.has(id), isDrawn: Boolean(viewer.stage?.model?.parts.has(id)),
      position: viewer.stage?.model?.parts.get(id)?.group.position.toArray() ?? null,
    })),
    state: () => viewer.value.state,
    revision: () => viewer.value.revision,
    selected: () => [...viewer.view.selected],
    select: (ids) => viewer.select(new Set(ids)),
    explode: (amount) => (amount === undefined ? viewer.view.explode : viewer.setExplode(amount)),
    pickAt: (x, y) => viewer.stage?.pickAt(x, y) ?? null,
    pointOf: (id) => viewer.stage?.pointOf(id) ?? null,
    camera: () => viewer.stage && { position: viewer.stage.camera.position.toArray(), target: viewer.stage.rig.controls.target.toArray() },
    memory: () => viewer.stage && { ...viewer.stage.renderer.info.memory, frames: viewer.stage.frames, faces: viewer.stage.model?.faces ?? 0 },
    extent: () => viewer.stage?.extent() ?? null,
    masks: () => ({ shown: viewer.prompt.shown, loaded: viewer.stage?.masks.loaded() ?? [], marker: viewer.stage?.masks.markerPoint() ?? null }),
    boxes: () => ({ isEditing: viewer.boxes.state.isActive, current: viewer.boxes.current, drawn: viewer.stage?.boxes.list() ?? [], hasHandles: viewer.stage?.boxes.handles.isShown ?? false }),
    cuts: () => ({ isOn: viewer.view.cuts, parts: [...(viewer.stage?.model?.parts.values() ?? [])].filter((part) => part.cutMaterial).map((part) => part.id) }),
    handleAt: (name, distance = 0) => viewer.stage.boxes.handles.pageOf(FACES.find((face) => face.name === name), distance),
    loseContext: () => viewer.stage?.renderer.forceContextLoss(),
    restoreContext: () => viewer.stage?.renderer.forceContextRestore(),
  };
  Object.defineProperty(surface, "isIdle", { get: () => !viewer.fetching && (viewer.stage?.isIdle ?? true) });
  viewer.element.partwise = surface;
  viewer.root.partwise = surface;
}
