"""The guide to Windows machines, its script and the list of errors: complete, and of one mind with the code."""

import re

import pytest
import tree_sitter
import tree_sitter_powershell

from processes import ROOT

GUIDE = (ROOT / "docs" / "windows.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()
SCRIPT = (ROOT / "scripts" / "windows" / "Enable-NMSliteMonitoring.ps1").read_text()
SOURCES = ROOT / "Sources"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "packaging").glob("*.md"))]


def codes():
    """The cases of `PollErrorCode`, by their raw values."""
    source = (SOURCES / "NMSCore" / "PollFailure.swift").read_text()
    body = source[source.index("enum PollErrorCode") :]
    body = body[: body.index("fileprivate")]
    found = [raw or name for name, raw in re.findall(r'^\s*case (\w+)(?: = "(\w+)")?$', body, re.MULTILINE)]
    assert len(found) > 10
    return found


def anchors(text):
    """As forges make them of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_error_code_is_explained_and_no_other():
    explained = re.findall(r"^## ([a-z_]+)$", ERRORS, re.MULTILINE)
    assert sorted(explained) == sorted(codes())


def test_every_stage_of_a_diagnosis_is_explained():
    source = (SOURCES / "NMSCore" / "DeviceDiagnosis.swift").read_text()
    kinds = source[source.index("enum Kind") :]
    kinds = kinds[: kinds.index("}")]
    names = [name for line in re.findall(r"^\s*case (.*)$", kinds, re.MULTILINE) for name in re.findall(r"\w+", line)]
    table = ERRORS[ERRORS.index("## The stages") :]
    assert sorted(names) == sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{document.name}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text()), f"{document.name}: {target}"


def parse(text):
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    return parser.parse(text.encode())


def errors_of(node):
    found = [node] if node.is_error or node.is_missing else []
    for child in node.children:
        found += errors_of(child)
    return found


def test_the_script_is_powershell():
    wrong = errors_of(parse(SCRIPT).root_node)
    assert not wrong, [(node.start_point, node.text[:80]) for node in wrong]
    broken = "".join(SCRIPT.rsplit("}", 1))
    assert errors_of(parse(broken).root_node), "the parser would not have noticed"


def test_the_examples_of_the_guide_fit_the_script():
    parameters = set(re.findall(r"^\s*(?:\[[^\]]*\(?[^\]]*\)?\] )?\[[\w\[\]]+\] \$(\w+)", SCRIPT, re.MULTILINE))
    assert {"Account", "ServerAddress", "Protocol", "Apply", "Undo"} <= parameters
    calls = re.findall(r"Enable-NMSliteMonitoring\.ps1 (.*)$", GUIDE, re.MULTILINE)
    assert len(calls) >= 5
    for call in calls:
        used = set(re.findall(r" -(\w+)", " " + call)) - {"WhatIf"}
        assert used <= parameters, call
    protocols = re.search(r"ValidateSet\((.*)\)", SCRIPT).group(1)
    for protocol in re.findall(r"-Protocol (\w+)", GUIDE):
        assert f"'{protocol}'" in protocols


def test_script_guide_and_collectors_read_the_same_classes():
    queries = (SOURCES / "NMSCollectors" / "WindowsQueries.swift").read_text()
    classes = set(re.findall(r"FROM (Win32_\w+)", queries))
    assert set(re.findall(r"^    '(Win32_\w+)'$", SCRIPT, re.MULTILINE)) == classes
    for name in classes:
        assert f"`{name}`" in GUIDE
    assert 'namespace = "root/cimv2"' in queries and "'root\\cimv2'" in SCRIPT and "`root\\cimv2`" in GUIDE


def test_script_and_guide_name_the_same_groups_ports_and_rules():
    for name, sid in re.findall(r"^\$(\w+Users) = '(S-1-5-32-\d+)'$", SCRIPT, re.MULTILINE):
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("Com", "COM")
        assert re.search(rf"\| {spaced} \| {sid} \|", GUIDE), spaced
    for rule in set(re.findall(r"'(W\w+-[\w-]+-In-TCP)'", SCRIPT)):
        assert f"`{rule}`" in GUIDE, rule
    for port in ("5985", "5986", "135"):
        assert f"TCP {port}" in GUIDE and port in SCRIPT
    assert "49152-65535" in GUIDE
    assert 'dynamicPorts = "49152-65535"' in (SOURCES / "NMSCollectors" / "DiagnosisRemedies.swift").read_text()
