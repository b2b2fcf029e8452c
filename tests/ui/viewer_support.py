"""A page with the part viewer as a person and as a test sees it."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from tests.watched_page import WatchedPage

PARTWISE = "document.querySelector('.pv').partwise"
SEAT, BACK, LEG_1, LEG_2 = 0, 1, 2, 3


@contextmanager
def served(page: str, gradio_folder: Path) -> Iterator[str]:
    """The address of a server of one of the small pages beside the tests."""
    environment = os.environ | {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(gradio_folder),
    }
    script = Path(__file__).with_name(page)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, env=environment, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield next(line.strip() for line in server.stdout if line.startswith("http"))
        finally:
            server.kill()


class Viewer(WatchedPage):
    """The page with the viewer, as a person and as a test sees it."""

    def __init__(self, page: Any, address: str) -> None:
        super().__init__(page, address)
        page.goto(address)
        page.wait_for_selector(".pv")

    def show(self, scene: str, state: str = "done") -> None:
        """Ask the server for a scene and wait until it is drawn."""
        field = self.page.locator("#scene textarea, #scene input")
        field.fill(scene)
        with self.page.expect_response(
            lambda answer: "/run/" in answer.url and scene in str(answer.request.post_data)
        ):
            field.press("Enter")
        self.page.wait_for_function(f"{PARTWISE}.state() === '{state}'")
        self.settle()

    def settle(self) -> None:
        """Wait until nothing loads or moves."""
        self.page.wait_for_function(f"{PARTWISE}.isIdle")
        self.rest()
        self.page.wait_for_function(f"{PARTWISE}.isIdle")

    def ask(self, expression: str) -> Any:
        """The value of an expression on the viewer's testing surface."""
        return self.page.evaluate(f"{PARTWISE}.{expression}")

    def click_part(self, part_id: int, modifiers: list[str] | None = None) -> None:
        """Click where the part is seen in the picture."""
        point = self.ask(f"pointOf({part_id})")
        self.page.keyboard.down(modifiers[0]) if modifiers else None
        self.page.mouse.click(point["x"], point["y"])
        self.page.keyboard.up(modifiers[0]) if modifiers else None

    def row(self, part_id: int) -> Any:
        """The table's row of a part."""
        return self.page.locator(f"tr[data-part-id='{part_id}']")

    def selected_rows(self) -> list[int]:
        """The parts whose rows are marked as selected."""
        rows = self.page.locator("tr[aria-selected='true']")
        return [int(rows.nth(i).get_attribute("data-part-id")) for i in range(rows.count())]

    def colour_at(self, part_id: int) -> tuple[int, int, int]:
        """The colour on the screen in the middle of a part."""
        point = self.ask(f"pointOf({part_id})")
        self.page.mouse.move(2, 2)
        self.settle()
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        return picture.getpixel((round(point["x"]), round(point["y"])))  # type: ignore[return-value]

    def wait_until_sent(self, field: str, text: str) -> None:
        """Wait until the server took an edit (“last”) or selection (“chosen”) with that text."""
        self.page.wait_for_function(
            "([field, text]) => document.querySelector(`#${field} textarea, #${field} input`)"
            ".value.includes(text)",
            arg=[field, text],
        )
