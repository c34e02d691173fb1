"""README.md and docs/: every command in them runs, or is at least one that exists.

A block of commands is executed as it stands unless a comment before it says why not: `<!-- shown: reason -->`, whose
programs and flags must exist, or `<!-- executed by Tests/Acceptance/test_x.py -->`. `<!-- with: server, host -->` says what
it needs. `# → text` at the end of a line is what the command must print.
"""

import json
import os
import re
import subprocess

import pytest
import yaml

from processes import ADMIN_PASSWORD, BIN, HOST_PASSWORD, ROOT, Server, Winsim

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "packaging").glob("*.md"))]
LANGUAGES = {"sh", "yaml", "json", "sql", "text", "powershell", "ini"}
EXPECTED = re.compile(r"\s*# → (.*)$", re.MULTILINE)
BLOCK = re.compile(r"(?:^[ ]*<!-- (?P<note>[^\n]*?) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.M | re.S)
#: Documents whose commands are one story, with a test of their own.
ELSEWHERE = {"api.md": "test_api_guide.py"}


class Block:
    def __init__(self, document, match):
        self.document = document
        self.note = match["note"] or ""
        self.language = match["language"]
        indent = len(match["indent"])
        self.text = "".join(line[indent:] for line in match["text"].splitlines(keepends=True))
        self.line = document.read_text()[: match.start()].count("\n") + 1

    @property
    def name(self):
        return f"{self.document.name}:{self.line}"

    @property
    def is_executed(self):
        elsewhere = self.document.name in ELSEWHERE or self.note.startswith(("shown:", "executed by "))
        return self.language == "sh" and not elsewhere


def blocks():
    return [Block(document, match) for document in DOCUMENTS for match in BLOCK.finditer(document.read_text())]


BLOCKS = blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_is_what_it_says(block):
    assert block.language in LANGUAGES, f"{block.name}: give the block a language: {sorted(LANGUAGES)}"
    if block.language == "sh":
        checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
    if block.language == "yaml":
        assert yaml.safe_load(block.text) is not None
    if block.language == "json":
        json.loads(block.text)
    if block.note.startswith("executed by "):
        test = ROOT / block.note.removeprefix("executed by ")
        assert test.exists() and block.document.name in test.read_text(), f"{block.name}: {test} does not know it"


def flags_of(words):
    return [re.match(r"--[A-Za-z0-9_.-]+", word).group() for word in words if re.match(r"--[a-z]", word)]


def help_of(program, *commands):
    finished = subprocess.run([BIN / program, *commands, "--help"], capture_output=True, text=True, timeout=20)
    return finished.stdout + finished.stderr


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.note.startswith("shown:")], ids=lambda block: block.name)
def test_what_is_only_shown_exists(block):
    if block.language != "sh":
        return
    for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
        words = [word for word in line.split("#")[0].split() if not re.match(r"[A-Z_]+=", word)]
        if not words:
            continue
        program = words[0].rsplit("/", 1)[-1]
        if program == "make":
            for target in (word for word in words[1:] if "=" not in word and not word.startswith(("-", '"'))):
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        elif words[0].startswith("scripts/"):
            script = ROOT / words[0]
            assert os.access(script, os.X_OK), line
            for flag in flags_of(words):
                assert flag in script.read_text(), line
        elif program in ("nmslite", "winsim"):
            commands = [word for word in words[1:3] if re.fullmatch(r"[a-z]+", word)] if program == "nmslite" else []
            known = help_of(program, *commands) + (help_of(program) if program == "nmslite" else "")
            for flag in flags_of(words):
                assert flag in known, line


def documents_with_stories():
    return sorted({block.document for block in BLOCKS if block.is_executed})


@pytest.mark.parametrize("document", documents_with_stories(), ids=lambda document: document.name)
def test_the_commands_of_a_document_do_what_it_says(document, folder):
    story = [block for block in BLOCKS if block.document == document and block.is_executed]
    needs = {need for block in story for need in re.findall(r"\w+", block.note.removeprefix("with:"))}
    if document.name == "README.md":
        needs = {"server", "host"}
    server = fleet = None
    try:
        if "host" in needs:
            fleet = Winsim(folder, 1, domain="CORP")
        if "server" in needs:
            server = Server(folder)
            if document.name == "README.md":
                # The tour begins with the password that the first start made.
                del server.environment["NMSLITE_ADMIN_PASSWORD"]
            server.start()
        run_story(story, folder, server, fleet)
    finally:
        for process in (server, fleet):
            if process is not None:
                process.stop()


def run_story(story, folder, server, fleet):
    (folder / "admin-password").write_text(ADMIN_PASSWORD + "\n")
    (folder / "host-password").write_text(HOST_PASSWORD + "\n")
    script = "set -eu -o pipefail\n"
    for block in story:
        for line in block.text.splitlines():
            # A command may go over several lines; what it prints is marked by the number of its last one.
            script += EXPECTED.sub("", line) + "\n"
            if EXPECTED.search(line):
                script += "echo '@@@'\n"
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "LANG": "C.UTF-8"}
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    script = script.replace("PATH=$PWD/.build/release:$PATH", ":")
    if server is not None:
        script = script.replace("localhost:8443", f"localhost:{server.port}").replace("./nmslite-data", str(server.data))
        environment |= {"NMSLITE_SERVER_PORT": str(server.port), "NMSLITE_DATA_DIR": str(server.data)}
    if fleet is not None:
        script = script.replace("192.0.2.10", fleet.address(0)).replace("192.0.2.0/24", fleet.base + "/32")
    finished = subprocess.run(
        ["bash", "-c", script], input=HOST_PASSWORD + "\n", cwd=folder, env=environment,
        capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    outputs = finished.stdout.split("@@@\n")
    expected = [text for block in story for text in EXPECTED.findall(block.text)]
    assert len(outputs) == len(expected) + 1
    for text, output in zip(expected, outputs):
        wanted = text.replace("192.0.2.10", fleet.address(0)) if fleet else text
        assert wanted in output, f"{text!r} is not in\n{output}"
