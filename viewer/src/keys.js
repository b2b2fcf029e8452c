// What keys do while the focus is inside the viewer.

const TYPED_IN = "input[type=text], input[type=number]";

export function actOnKey(viewer, event) {
  if (event.target.closest(TYPED_IN) || event.altKey) {
    if (event.key === "Escape" && event.target.type === "number") viewer.boxes.escape();
    return;
  }
  const command = (event.ctrlKey || event.metaKey ? commandsWithControl : commands)(viewer)[event.key.toLowerCase()];
  if (!command || event.shiftKey) return;
  event.preventDefault();
  event.stopPropagation();
  command();
}

const commandsWithControl = (viewer) => ({ z: () => viewer.edit("undo") });

const commands = (viewer) => {
  const { prompt, boxes } = viewer;
  return {
    m: () => viewer.edit("merge"), s: () => viewer.edit("split"), f2: () => viewer.startRename(),
    f: () => viewer.look("fit"), i: () => viewer.isolate(), a: () => viewer.setHidden(new Set()),
    b: () => viewer.toggle("boxes"), w: () => viewer.toggle("wire"), u: () => viewer.toggle("zUp"), c: () => viewer.savePicture(), x: () => viewer.toggle("cuts"),
    p: () => prompt.switch(!prompt.isOn), e: () => boxes.switch(!boxes.isOn),
    escape: () => boxes.escape() || prompt.escape() || viewer.select(new Set()),
    1: () => prompt.takesNumber(1) || viewer.look("front"), 2: () => prompt.takesNumber(2) || viewer.look("side"), 3: () => prompt.takesNumber(3) || viewer.look("top"),
  };
};

export function actOnCameraKey(viewer, event) {
  if (event.key === "Enter" && viewer.prompt.isAiming) return viewer.promptAtMiddle();
  const turn = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, -0.12], ArrowDown: [0, 0.12], "+": [0, 0, 0.88], "=": [0, 0, 0.88], "-": [0, 0, 1.14] }[event.key];
  if (!turn || !viewer.stage || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  viewer.stage.rig.orbit(...turn);
}
