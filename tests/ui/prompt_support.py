"""The page of the point prompt as a person and as a test sees it, and measures of the sight."""

import io
import re
from typing import Any

import numpy as np
import trimesh
from PIL import Image

from tests.ui.viewer_support import PARTWISE, Viewer

Point = tuple[float, float]


class Prompter(Viewer):
    """The page with masks, as a person and as a test sees it."""

    @property
    def toggle(self) -> Any:
        """The switch of the point prompt."""
        return self.page.get_by_role("button", name="Point prompt")

    def aim(self) -> None:
        """Switch the point prompt on."""
        self.toggle.click()
        assert self.toggle.get_attribute("aria-pressed") == "true"

    def turn_up(self, axis: str) -> None:
        """Say which axis of the file, “Y” or “Z”, points up."""
        button = self.page.locator(".pv-view button", has_text=" up")
        if button.inner_text() != f"{axis} up":
            button.click()

    def place_of(self, part_id: int) -> Point:
        """Where the part is seen on the page."""
        point = self.ask(f"pointOf({part_id})")
        return point["x"], point["y"]

    def prompt(self, part_id: int) -> Point:
        """Click a part while aiming and wait for the masks; returns the place of the click."""
        place = self.place_of(part_id)
        self.page.mouse.click(*place)
        self.wait_for_masks()
        return place

    def wait_for_masks(self) -> None:
        """Wait until three masks are offered and their pictures are there."""
        self.page.wait_for_selector(".pv-masks:not([hidden])")
        self.page.wait_for_function(f"{PARTWISE}.masks().loaded.length === 3")
        self.settle()

    def hold(self) -> None:
        """Open the chair whose masks come when they are let go of."""
        self.show("empty", "empty")
        self.show("held")

    def let_go(self) -> None:
        """Let the masks come, and wait for them."""
        self.page.locator("#let-go").click()
        self.wait_for_masks()

    def wait_until_dismissed(self) -> None:
        """Wait until no masks are offered."""
        self.page.wait_for_selector(".pv-masks", state="hidden")
        self.page.wait_for_function(f"{PARTWISE}.masks().loaded.length === 0")
        self.settle()

    def sent(self) -> str:
        """What the server last took."""
        return str(self.page.locator("#last textarea, #last input").input_value())

    def sent_point(self) -> np.ndarray:
        """(3,) the point of the prompt that the server last took."""
        found = re.search(r"action='prompt'.*point=\(([^)]*)\)", self.sent())
        assert found is not None, self.sent()
        return np.array([float(value) for value in found[1].split(",")])

    def button(self, name: str) -> Any:
        """A button of the panel."""
        return self.page.locator(".pv-masks").get_by_role("button", name=name)

    def parts_after(self, revision: int) -> dict[str, int]:
        """The names and faces of the parts at a revision."""
        self.page.wait_for_function(f"{PARTWISE}.revision() === {revision}")
        self.settle()
        rows = self.page.locator(".pv-table tbody tr")
        cells = [
            rows.nth(i).locator(".pv-c1, .pv-c2").all_inner_texts() for i in range(rows.count())
        ]
        return {name: int(faces.replace("\u202f", "")) for name, faces in cells}

    def screen(self) -> Image.Image:
        """What is on the screen."""
        return Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")


def distance_to(part: trimesh.Trimesh, point: np.ndarray) -> float:
    """How far a point is from a part's surface."""
    corners = part.triangles
    nearest = trimesh.triangles.closest_point(corners, np.tile(point, (len(corners), 1)))
    return float(np.linalg.norm(nearest - point, axis=1).min())


def luminance(colours: np.ndarray) -> np.ndarray:
    """Relative luminance (WCAG 2) of (…, 3) sRGB colours in [0, 1]."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ [0.2126, 0.7152, 0.0722])


def sorted_masks(viewer: Prompter) -> list[dict[str, Any]]:
    """The masks that the browser holds, in their order."""
    return sorted(viewer.ask("masks()")["loaded"], key=lambda mask: mask["url"])
