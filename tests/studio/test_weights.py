"""Fetching weights from a hub on this machine: whole or nothing, and each failure told apart."""

import errno
import json
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from partwise.core.errors import BusyError, Cancelled, WeightsError
from partwise.core.progress import CancelToken, Progress
from studio import download, weights
from studio.catalog import NEURAL_MODELS, NeuralModel
from tests.hub_server import COMMIT, OLD_COMMIT, HubServer, serve

FILE = "p3sam/p3sam.safetensors"
CONTENT = save({"a": np.arange(75_000, dtype=np.float32)})  # 300 kB: many pieces
MODEL = replace(NEURAL_MODELS[0], file_bytes=len(CONTENT), source="ada/parts")
HEARD_S = 5.0  # half of what a silent server is given; a busy machine takes a while to say so
FREE = namedtuple("usage", "total used free")

Fetch = Callable[..., weights.Fetched]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """The hub, with the model's file; no token, no pause between tries."""
    monkeypatch.setattr(download, "_PAUSE_S", 0.01)
    for name in ("HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    with serve(HubServer(MODEL.source, {FILE: CONTENT})) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The weights folder, which is not there yet and is named in letters of two scripts."""
    return tmp_path / "Gewichte für Ада" / "weights"


@pytest.fixture
def fetch(hub: HubServer, folder: Path) -> Fetch:
    """Fetches the model from the hub into the folder."""

    def run(model: NeuralModel = MODEL, **options: object) -> weights.Fetched:
        return weights.fetch(model, folder, endpoint=hub.url, **options)  # type: ignore[arg-type]

    return run


def refusal(fetch: Fetch, **options: object) -> str:
    with pytest.raises(WeightsError) as error:
        fetch(**options)
    return error.value.message


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def test_a_fetch_brings_the_file_to_the_public_layout_and_notes_the_commit(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    steps: list[Progress] = []
    fetched = fetch(progress=steps.append)
    assert fetched == weights.Fetched(COMMIT, len(CONTENT))
    assert (folder / FILE).read_bytes() == CONTENT
    assert parts(folder) == []
    record = json.loads((folder / "p3sam.json").read_text(encoding="utf-8"))
    assert (record["commit"], record["size"]) == (COMMIT, {FILE: len(CONTENT)})
    assert steps[-1].fraction == 1
    assert steps[-1].detail == "0.3 of 0.3 MB"
    state = weights.check(MODEL, folder)
    assert (state.is_ready, state.commit, state.note) == (True, COMMIT, "")


def test_progress_counts_bytes_and_never_goes_back(
    hub: HubServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_REPORT_S", 0.0)
    hub.drop_after = [100_000]
    steps: list[Progress] = []
    fetch(progress=steps.append)
    fractions = [step.fraction for step in steps]
    assert len(set(fractions)) > 4
    assert fractions == sorted(fractions)


def test_a_second_fetch_finds_everything_there(hub: HubServer, fetch: Fetch) -> None:
    fetch()
    before = len(hub.downloads())
    assert fetch().downloaded_bytes == 0
    assert len(hub.downloads()) == before


def test_files_at_hand_with_the_right_checksum_are_taken_as_they_are(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_bytes(CONTENT)
    assert fetch() == weights.Fetched(COMMIT, 0)
    assert hub.downloads() == []


def test_later_fetches_repair_to_the_commit_of_the_first(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    fetch()
    hub.revisions["main"] = OLD_COMMIT  # somebody pushed
    hub.revisions["kept"] = COMMIT
    (folder / FILE).write_bytes(CONTENT[:-1] + b"?")
    hub.seen.clear()
    assert fetch() == weights.Fetched(COMMIT, len(CONTENT))
    assert (folder / FILE).read_bytes() == CONTENT
    assert all(COMMIT in seen.path for seen in hub.seen if "/resolve/" in seen.path)


def test_a_named_revision_wins_over_the_recorded_one(hub: HubServer, fetch: Fetch) -> None:
    fetch()
    assert fetch(revision="v1").commit == OLD_COMMIT
    assert fetch().commit == OLD_COMMIT


def test_an_interrupted_transfer_goes_on_where_it_stopped(hub: HubServer, fetch: Fetch) -> None:
    hub.drop_after = [100_000]
    assert fetch() == weights.Fetched(COMMIT, len(CONTENT))
    assert [seen.range for seen in hub.downloads()] == [None, "bytes=100000-"]


def test_what_arrived_before_a_failure_is_used_by_the_next_fetch(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    hub.drop_after = [100_000, 0, 0, 0, 0]
    assert "was interrupted" in refusal(fetch)
    assert not (folder / FILE).exists()
    assert [part.stat().st_size for part in parts(folder)] == [100_000]
    hub.seen.clear()
    hub.drop_after = []
    assert fetch().downloaded_bytes == len(CONTENT) - 100_000
    assert [seen.range for seen in hub.downloads()] == ["bytes=100000-"]
    assert (folder / FILE).read_bytes() == CONTENT


def test_a_server_that_cannot_continue_starts_anew(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    hub.drop_after, hub.honours_range = [100_000], False
    fetch()
    assert (folder / FILE).read_bytes() == CONTENT


def test_parts_of_another_version_are_not_continued(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    hub.drop_after = [100_000, 0, 0, 0, 0]
    refusal(fetch)
    hub.files[FILE] = bytes(len(CONTENT))
    hub.drop_after = []
    hub.seen.clear()
    fetch()
    assert (folder / FILE).read_bytes() == bytes(len(CONTENT))
    assert [seen.range for seen in hub.downloads()] == [None]
    assert parts(folder) == []


def test_wrong_content_is_deleted_and_told(hub: HubServer, fetch: Fetch, folder: Path) -> None:
    hub.stored[FILE] = CONTENT[:-1] + b"?"
    assert "arrived damaged: its SHA-256" in refusal(fetch)
    assert not (folder / FILE).exists()
    assert parts(folder) == []


def test_more_bytes_than_announced_are_not_written(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    hub.stored[FILE] = CONTENT + bytes(50_000)
    assert "sends more than" in refusal(fetch)
    assert not (folder / FILE).exists()


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        ((403, "GatedRepo"), "is gated: its conditions must be accepted"),
        ((401, "GatedRepo"), "set HF_TOKEN"),
        ((401, "RepoNotFound"), "There is no repository ada/parts on 127.0.0.1"),
        ((401, ""), "the token is not valid"),
        ((403, ""), "access is forbidden (403)"),
        ((404, "RevisionNotFound"), "has no revision “main”"),
        ((404, "EntryNotFound"), f"has no file {FILE}"),
        ((429, ""), "too many requests (429)"),
        ((500, ""), "a fault of its own (500)"),
        ((418, ""), "status 418"),
    ],
)
def test_each_refusal_of_the_hub_is_told_apart(
    hub: HubServer, fetch: Fetch, folder: Path, refused: tuple[int, str], words: str
) -> None:
    hub.refusal = refused
    assert words in refusal(fetch)
    assert not (folder / FILE).exists()


def test_a_repository_revision_or_file_that_is_not_there_is_told(fetch: Fetch) -> None:
    assert "no repository ada/other" in refusal(fetch, model=replace(MODEL, source="ada/other"))
    assert "no revision “v9”" in refusal(fetch, revision="v9")
    assert "no file x.bin" in refusal(fetch, model=replace(MODEL, files=("x.bin",)))


def test_a_hub_that_cannot_be_reached_is_told(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"127.0.0.1:9 cannot be reached .*Check the connection"):
        weights.fetch(MODEL, folder, endpoint="http://127.0.0.1:9")


def test_a_hub_without_checksums_is_refused(hub: HubServer, fetch: Fetch) -> None:
    hub.has_checksum = False
    assert "names no SHA-256" in refusal(fetch)


def test_files_of_another_size_than_published_are_refused_before_the_download(
    hub: HubServer, fetch: Fetch
) -> None:
    message = refusal(fetch, model=replace(MODEL, file_bytes=450_968_044))
    assert "450,968,044" in message
    assert hub.downloads() == []


@pytest.mark.parametrize(
    ("problem", "found"),
    [(ImportError("socksio"), "SOCKS"), (ValueError("Unknown scheme socks://"), "all_proxy")],
)
def test_a_proxy_that_cannot_be_used_is_told(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, problem: Exception, found: str
) -> None:
    def refuse() -> None:
        raise problem

    monkeypatch.setattr("studio.hub.get_session", refuse)
    assert found in refusal(fetch)


def test_offline_is_honoured_without_a_request(
    hub: HubServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal(fetch)
    assert hub.seen == []


def test_offline_is_no_failure_when_everything_is_there_as_recorded(
    hub: HubServer, fetch: Fetch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch() == weights.Fetched(COMMIT, 0)
    assert "HF_HUB_OFFLINE" in refusal(fetch, revision="v1")
    (folder / FILE).write_bytes(CONTENT[:-1] + b"?")
    assert f"{FILE} was not downloaded" in refusal(fetch)


def test_too_little_space_is_told_before_the_download(
    hub: HubServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: FREE(10**9, 10**9, 200_000))
    assert "Free some space" in refusal(fetch)
    assert hub.downloads() == []


def test_what_arrived_already_needs_no_space_again(
    hub: HubServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.drop_after = [150_000, 0, 0, 0, 0]
    refusal(fetch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: FREE(10**9, 10**9, 200_000))
    assert fetch().downloaded_bytes == len(CONTENT) - 150_000


def test_a_disk_that_fills_up_is_told_and_what_arrived_is_kept(
    fetch: Fetch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = download._write_at

    def full(output: object, place: int, piece: bytes, size: int) -> None:
        if place > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(output, place, piece, size)  # type: ignore[arg-type]

    monkeypatch.setattr(download, "_write_at", full)
    assert "is full. What has arrived is kept" in refusal(fetch)
    monkeypatch.setattr(download, "_write_at", write)
    assert 0 < fetch().downloaded_bytes < len(CONTENT)
    assert (folder / FILE).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_told(hub: HubServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match="choose another folder with --weights"):
        weights.fetch(MODEL, tmp_path / "file" / "weights", endpoint=hub.url)


@pytest.mark.parametrize("stage", ["a silent server", "a slow server"])
def test_cancel_is_heard_at_once_and_what_arrived_is_kept(
    hub: HubServer, fetch: Fetch, folder: Path, stage: str
) -> None:
    if stage == "a silent server":
        hub.stall_after = 50_000
    else:
        hub.piece_pause_s = 1.0
    cancel, asked = CancelToken(), []

    def stop() -> None:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in parts(folder)):
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)
        time.sleep(0.2)
        asked.append(time.monotonic())
        cancel.cancel()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(Cancelled):
        fetch(cancel=cancel)
    assert time.monotonic() - asked[0] < HEARD_S
    stopping.join()
    assert parts(folder)[0].stat().st_size > 0
    hub.stall_after, hub.piece_pause_s = None, 0
    assert 0 < fetch().downloaded_bytes < len(CONTENT)
    assert (folder / FILE).read_bytes() == CONTENT


def test_a_second_fetch_at_the_same_time_is_told_that_one_is_under_way(
    hub: HubServer, fetch: Fetch, folder: Path
) -> None:
    hub.stall_after = 0
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(fetch()))
    thread.start()
    while thread.is_alive() and not hub.downloads():
        time.sleep(0.01)
    asked = time.monotonic()
    with pytest.raises(BusyError, match=r"P3-SAM into .* is under way already"):
        fetch()
    assert time.monotonic() - asked < HEARD_S
    hub.stall_after = None
    thread.join()
    assert outcome == [weights.Fetched(COMMIT, len(CONTENT))]
    assert len(hub.downloads()) == 1


def test_the_token_goes_to_the_hub_and_not_to_its_store(
    hub: HubServer, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    fetch()
    sent = {seen.path.split("/")[1]: seen.authorization for seen in hub.seen}
    assert sent == {"ada": "Bearer hf_test", "store": None}


def test_several_files_come_from_one_commit(hub: HubServer, fetch: Fetch, folder: Path) -> None:
    hub.files["model/b.safetensors"] = save({"b": np.zeros(10, np.float32)})
    names = (FILE, "model/b.safetensors")
    both = replace(MODEL, files=names, file_bytes=sum(map(len, hub.files.values())))
    assert fetch(both).downloaded_bytes == both.file_bytes
    asked = [seen.path.split("/resolve/")[1] for seen in hub.seen if seen.method == "HEAD"]
    assert asked == [f"main/{FILE}", f"{COMMIT}/model/b.safetensors"]


# ---- what is there


def test_check_tells_missing_damaged_and_other_files(folder: Path) -> None:
    state = weights.check(MODEL, folder)
    assert (state.missing, state.is_ready) == ((FILE,), False)
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).write_bytes(CONTENT[:-1])
    state = weights.check(MODEL, folder)
    assert "not a complete safetensors file" in state.problem
    assert not state.is_ready
    (folder / FILE).write_bytes(save({"a": np.zeros(3, np.float32)}))
    state = weights.check(MODEL, folder)
    assert state.is_ready
    assert state.note.startswith("not the published files")


def test_a_damaged_record_is_told_not_guessed(fetch: Fetch, folder: Path) -> None:
    fetch()
    for text in ("{", "[]", '{"source": "x"}', '{"source": "ada/parts", "commit": 5}'):
        (folder / "p3sam.json").write_text(text, encoding="utf-8")
        assert "p3sam.json is damaged" in weights.check(MODEL, folder).problem
        assert "Delete it and fetch" in refusal(fetch)


def test_the_notice_names_licence_territories_size_and_place() -> None:
    notice = weights.licence_notice(NEURAL_MODELS[0])
    for words in ("0.45 GB", "tencent/Hunyuan3D-Part", "community licence", "EU", "South Korea"):
        assert words in notice
