"""
A profile of an invocation, by the real py-spy.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lambda_ric.emulator import Emulator, Invocation, Observer, in_thread
from lambda_ric.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.emulator.conftest import StandIn

SPENDS = """
def spends(seconds):
    began = time.process_time()
    while time.process_time() < began + seconds:
        pass

def waits(seconds):
    time.sleep(seconds)

spends(0.1)
"""


class Notes(Observer):
    def __init__(self) -> None:
        self.taken: list[str] = []

    def note(self, kind: str, text: str, invocation: Invocation | None = None) -> None:
        if kind == "profile":
            self.taken.append(text)


@pytest.mark.parametrize("name", ["graph.svg", "profile.json"])
def test_profile_shows_where_the_time_of_an_invocation_went(stand_in: StandIn, tmp_path: Path, name: str) -> None:
    """
    What came after the response as well, and what was waited for; each invocation replaces the one before.
    """
    script = (
        SPENDS
        + """
while True:
    request_id, event = next_event()
    eval("spends" if event.content == b"1" else "waits")(0.3)
    respond(request_id)
"""
    )
    notes = Notes()
    file = tmp_path / name
    with in_thread(stand_in(script, profile=file, observers=[notes])) as emulator:
        profiles = []
        for number in (1, 2):
            emulator.finished(emulator.invoke(number))
            profiles.append(file.read_text())

    assert [("spends" in profile, "waits" in profile) for profile in profiles] == [(True, False), (False, True)]
    assert notes.taken == [f"{file} shows where the time of it went"] * 2
    assert [path.name for path in tmp_path.iterdir() if path.suffix == file.suffix] == [name]


def test_what_cannot_be_looked_at_is_told_of(stand_in: StandIn, tmp_path: Path) -> None:
    """
    A runtime that is no Python; the function has its answer all the same.
    """
    api = "http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
    program = f"""
        id=$(curl -sS -D - -o /dev/null "{api}/next" | tr -d '\\r' | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
        curl -sS -d '"done"' "{api}/$id/response" >/dev/null
        exec curl -sS "{api}/next"
    """
    notes = Notes()
    emulator = Emulator(
        command=["sh", "-c", program], task_root=tmp_path, profile=tmp_path / "graph.svg", observers=[notes], timeout=30
    )
    with in_thread(emulator) as running:
        answer = running.invoke()
        running.finished(answer)

    assert json.loads(answer.payload) == "done"
    (note,) = notes.taken
    assert note.startswith("there is no profile: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["graph", "graph.png", "nowhere/graph.svg"])
def test_profile_that_cannot_be_is_refused(tmp_path: Path, file: str) -> None:
    """
    Its kind is told by its name.
    """
    with pytest.raises(ConfigurationError, match=r"has to be an .svg or .json file"):
        Emulator("app.handler", profile=tmp_path / file)


def test_missing_profiler_is_told_of_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is no dependency of the package.
    """
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    with pytest.raises(ConfigurationError, match="pip install py-spy"):
        Emulator("app.handler", profile=tmp_path / "graph.svg")
