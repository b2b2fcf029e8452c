"""The page of the boxes as a person and as a test sees it."""

import ast
import re
from typing import Any

from tests.ui.boxes_page import ROOM
from tests.ui.viewer_page import chair
from tests.ui.viewer_support import PARTWISE, Viewer

Corners = list[list[float]]
FIELDS = [f"{axis} {side}" for axis in "xyz" for side in ("min", "max")]


class Editor(Viewer):
    """The page with boxes, as a person and as a test sees it."""

    @property
    def toggle(self) -> Any:
        """The switch of the mode."""
        return self.page.get_by_role("button", name="Edit boxes")

    @property
    def panel(self) -> Any:
        """The numbers and the resets below the picture."""
        return self.page.locator(".pv-boxes")

    def edit(self, part_id: int) -> None:
        """Switch the mode on and take a part."""
        self.toggle.click()
        self.row(part_id).click()
        self.settle()
        assert self.ask("boxes()")["hasHandles"]

    def preview(self, count: int) -> None:
        """Show the work under way with so many parts done, and wait until they are drawn."""
        self.show(f"running {count}", "running")
        self.page.wait_for_function(
            f"{PARTWISE}.parts().filter((part) => part.isDrawn).length === {count}"
        )
        self.settle()

    def field(self, name: str) -> Any:
        """The number of a face, such as “x max”."""
        return self.panel.get_by_label(name, exact=True)

    def numbers(self) -> Corners:
        """The six numbers of the panel as min and max corner."""
        values = {name: float(self.field(name).input_value()) for name in FIELDS}
        return [[values[f"{axis} {side}"] for axis in "xyz"] for side in ("min", "max")]

    def drawn(self, part_id: int) -> dict[str, Any]:
        """The box of a part as it is drawn."""
        found = [box for box in self.ask("boxes()")["drawn"] if box["id"] == part_id]
        assert len(found) == 1
        return dict(found[0])

    def grip(self, name: str, by: float = 0) -> tuple[float, float]:
        """Where a handle is on the page, or would be after a move along its axis."""
        at = self.ask(f"handleAt('{name}', {by})")
        return at["x"], at["y"]

    def pull(self, name: str, by: float, *, release: bool = True) -> None:
        """Drag a handle along its axis, in mesh units."""
        start, end = self.grip(name), self.grip(name, by)
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=5)
        if release:
            self.page.mouse.up()

    def sent(self) -> list[str]:
        """What the server took since the scene was opened."""
        text = self.page.locator("#last textarea").input_value()
        return [line for line in str(text).splitlines() if line]

    def sent_box(self, count: int = 1) -> Corners:
        """The box of the last of `count` actions that the server took."""
        self.page.wait_for_function(
            "(n) => document.querySelector('#last textarea').value.trim().split('\\n').length === n"
            " && document.querySelector('#last textarea').value !== ''",
            arg=count,
        )
        self.settle()
        found = re.search(r"action='box'.*aabb=(\(.*\))\)$", self.sent()[-1])
        assert found is not None, self.sent()
        return [list(corner) for corner in ast.literal_eval(found[1])]


def given(part: int) -> Corners:
    """The box that the page gives to a part of the chair."""
    low, high = chair()[part][1].bounds.tolist()
    return [[v - ROOM for v in low], [v + ROOM for v in high]]
