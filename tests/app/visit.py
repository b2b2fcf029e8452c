"""The page as a person sees it, in headless Chromium, for the tests that use it."""

from pathlib import Path
from typing import Any

from tests.watched_page import WatchedPage

# Without motion there is nothing to wait for; the phone's page has it.
_DESKTOP = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
LOOKS = {
    "light": {"color_scheme": "light", **_DESKTOP},
    "dark": {"color_scheme": "dark", **_DESKTOP},
    "phone": {
        "color_scheme": "light",
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
    },
}
SEGMENT, GENERATE = "segment-viewer", "generate-viewer"


class Visit(WatchedPage):
    """One page as a person sees it."""

    def __init__(self, context: Any, address: str) -> None:
        super().__init__(context.new_page(), address)
        self.page.goto(address)
        self.wait_for_state("empty")

    def ask(self, expression: str, viewer: str = SEGMENT) -> Any:
        """The value of an expression on a viewer's testing surface."""
        return self.page.evaluate(f"document.querySelector('#{viewer} .pv').partwise.{expression}")

    def wait_for(self, expression: str, viewer: str = SEGMENT) -> None:
        """Wait until an expression on a viewer's testing surface is true."""
        surface = f"document.querySelector('#{viewer} .pv')?.partwise"
        self.page.wait_for_function(f"{surface}?.{expression}", timeout=30_000)

    def wait_for_state(self, state: str, viewer: str = SEGMENT) -> None:
        """Wait until a viewer says that it is in a state, and has drawn it."""
        self.wait_for(f"state() === '{state}'", viewer)
        self.wait_for("isIdle", viewer)

    def upload(self, path: Path) -> None:
        """Drop a file on the page."""
        self.page.set_input_files("#upload input[type=file]", str(path))

    def press(self, name: str) -> None:
        """Press the button of that element id."""
        self.page.locator(f"button#{name}, #{name} button").first.click()

    def edit(self, name: str) -> None:
        """Press one of the Segment viewer's buttons and wait for the new parts."""
        revision = self.ask("revision()")
        self.page.locator(f"#{SEGMENT}").get_by_role("button", name=name).first.click()
        self.wait_for(f"revision() > {revision}")
        self.wait_for("isIdle")

    def parts(self, viewer: str = SEGMENT) -> list[dict[str, Any]]:
        """The rows of a viewer's table."""
        rows: list[dict[str, Any]] = self.ask("parts()", viewer)
        return rows

    def click_part(self, part_id: int) -> None:
        """Click where the part is seen in the picture."""
        self.page.locator(f"#{SEGMENT} canvas").scroll_into_view_if_needed()
        point = self.ask(f"pointOf({part_id})")
        assert point is not None, f"part {part_id} is seen nowhere"
        self.page.mouse.click(point["x"], point["y"])

    def download(self, label: str, viewer: str) -> bytes:
        """Click a download and return what arrives."""
        with self.page.expect_download() as arriving:
            self.page.locator(f"#{viewer} .pv-download", has_text=label).first.click()
        return Path(arriving.value.path()).read_bytes()

    def alert(self, viewer: str = SEGMENT) -> str:
        """Wait for a message and return its text."""
        slot = self.page.locator(f"#{viewer} [role=alert] .pv-card-error")
        slot.wait_for(timeout=30_000)
        return str(slot.inner_text())
