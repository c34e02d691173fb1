"""docs/windows.md, docs/errors.md and the script for Windows hosts: what they say agrees with the code and each other."""

import pathlib
import re
import urllib.parse

import pytest
import tree_sitter
import tree_sitter_powershell

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "windows.md"
ERRORS = ROOT / "docs" / "errors.md"
SCRIPT = ROOT / "scripts" / "windows" / "Enable-NMSliteMonitoring.ps1"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def swift_enum(path, name):
    """The raw values of a Swift enum of strings."""
    text = (ROOT / path).read_text()
    body = re.search(rf"enum {name}: String[^{{]*\{{(.*?)\n *(?:\}}|fileprivate)", text, re.DOTALL).group(1)
    body = re.sub(r"///.*", "", body)
    cases = re.findall(r"^ *case `?(\w+)`?(?: = \"([^\"]+)\")?", body, re.MULTILINE)
    assert cases, f"no case of {name} in {path}"
    return {raw or case for case, raw in cases}


def prose(text):
    """A page without what stands in code blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(path):
    return re.findall(r"^#+ +(.*?) *$", prose(path.read_text()), re.MULTILINE)


def anchors(path):
    """As GitHub makes them."""
    slugs = {}
    for heading in headings(path):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        slugs[slug] = slugs.get(slug, -1) + 1
        if slugs[slug]:
            slugs[f"{slug}-{slugs[slug]}"] = 0
    return set(slugs)


def cells(text, heading):
    """The rows of the tables below a heading, without their head."""
    section = re.search(rf"^##+ {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL).group(1)
    rows = [[cell.strip() for cell in row.strip("| ").split("|")] for row in re.findall(r"^ *\|.*\|$", section, re.M)]
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def script_list(name):
    body = re.search(rf"^\${name} = @\((.*?)^\)", SCRIPT.read_text(), re.MULTILINE | re.DOTALL).group(1)
    return set(re.findall(r"'([^']+)'", body))


def script_value(name):
    value = re.search(rf"^\${name} = '?([^'#\n]+?)'? *(?:#.*)?$", SCRIPT.read_text(), re.MULTILINE)
    assert value, f"${name} is not in the script"
    return value.group(1)


def test_every_error_code_has_its_section_and_no_other_has_one():
    codes = swift_enum("Sources/NMSCore/PollFailure.swift", "PollErrorCode")
    assert len(codes) >= 14
    sections = {heading for heading in re.findall(r"^## (.*)$", ERRORS.read_text(), re.MULTILINE) if " " not in heading}
    assert sections == codes


def test_every_section_tells_meaning_causes_confirmation_and_remedy():
    for code in swift_enum("Sources/NMSCore/PollFailure.swift", "PollErrorCode"):
        section = re.search(rf"^## {code}$(.*?)^## ", ERRORS.read_text(), re.MULTILINE | re.DOTALL).group(1)
        labels = re.findall(r"^\*\*(.*?)\.\*\*", section, re.MULTILINE)
        assert labels == ["Meaning", "Likely causes", "How to confirm", "Remedy"], code


def test_stages_and_codes_of_the_api_are_those_of_the_code():
    text = ERRORS.read_text()
    stages = {row[0].strip("`") for row in cells(text, "The stages of a test")[1:]}
    assert stages == swift_enum("Sources/NMSCore/DeviceDiagnosis.swift", "Kind")
    codes = {row[0].strip("`") for row in cells(text, "Codes of the API")[1:]}
    assert codes == swift_enum("Sources/NMSAPI/Services/ServiceError.swift", "Code")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"`[^`\n]*`(?!\])", "", prose(page.read_text()))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = urllib.parse.unquote(target).partition("#")
        path = (page.parent / file).resolve() if file else page
        if not path.exists() or not path.is_relative_to(ROOT):
            broken.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(path):
            broken.append(f"{target}: no such heading")
    assert not broken


def test_the_readme_links_to_both_pages():
    assert {"docs/windows.md", "docs/errors.md"} <= set(re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text()))


def test_the_script_parses():
    source = SCRIPT.read_bytes()
    # Windows PowerShell reads a file without a byte-order mark in the machine's code page.
    assert source.isascii()
    language = tree_sitter.Language(tree_sitter_powershell.language())
    tree = tree_sitter.Parser(language).parse(source)
    wrong = []
    nodes = [tree.root_node]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.is_error or node.is_missing:
            wrong.append(f"line {node.start_point[0] + 1}: {node.text[:60]!r}")
    assert not wrong and not tree.root_node.has_error


def test_the_script_changes_nothing_outside_of_what_asks_for_apply():
    """Commands that change the host stand in blocks of Invoke-Check, or in functions that only such blocks call."""
    text = SCRIPT.read_text()
    changing = re.compile(
        r"\b(Set-Service|Start-Service|Stop-Service|New-Item|Remove-Item|New-ItemProperty|Set-ItemProperty|"
        r"Remove-ItemProperty|New-WSManInstance|Set-WSManInstance|Remove-WSManInstance|New-NetFirewallRule|"
        r"Remove-NetFirewallRule|Set-NetFirewallRule|Grant-Namespace|Revoke-Namespace|Set-NamespaceSecurity|"
        r"Add-GroupMember|Remove-GroupMember|Save-Change|Undo-Listener)\b"
    )
    helpers = {
        "Save-Change", "Add-GroupMember", "Remove-GroupMember", "Set-NamespaceSecurity", "Grant-Namespace",
        "Revoke-Namespace", "Undo-Listener",
    }  # fmt: skip
    function, inside, found = None, None, 0
    for line in text[text.index("# 2. Helpers.") :].splitlines():
        if start := re.match(r"function ([\w-]+)", line):
            function, inside = start.group(1), None
        code = re.sub(r"'[^']*'", "''", line.split(" # ")[0])
        if "Invoke-Check" in code and code.rstrip().endswith("{") and not code.startswith("function"):
            inside = len(line) - len(line.lstrip())
        elif inside is not None and line.strip().startswith("}") and len(line) - len(line.lstrip()) == inside:
            inside = None
        elif (match := changing.search(code)) and not line.lstrip().startswith(("#", "function")):
            found += 1
            # What is left of the notes is cleared away after an undo, when there is no note any more.
            tidy = function == "Undo-Change" and match.group() == "Remove-Item"
            assert inside is not None or function in helpers or tidy, f"{function}: {line.strip()}"
    assert found > 15


def test_groups_are_the_same_in_script_and_guide():
    text = SCRIPT.read_text()
    groups = {name: sid for sid, name in re.findall(r"^\$Group\w+ = '(S-[\d-]+)' +# (.*)$", text, re.MULTILINE)}
    administrators = groups.pop("Administrators")
    assert administrators == "S-1-5-32-544"
    told = {row[0]: row[1].strip("`") for row in cells(GUIDE.read_text(), "The account, step by step")[1:]}
    assert told == groups and len(groups) == 3


def test_namespace_and_classes_are_those_that_are_read():
    queries = (ROOT / "Sources/NMSCollectors/WindowsQueries.swift").read_text()
    classes = set(re.findall(r"\bFROM (\w+)", queries))
    namespace = re.search(r'namespace = "([^"]+)"', queries).group(1)
    assert len(classes) == 5
    assert script_list("Classes") == classes
    told = {row[0].strip("`") for row in cells(GUIDE.read_text(), "Which way in") if row[0].startswith("`Win32_")}
    assert told == classes
    assert script_value("Namespace") == namespace.replace("/", "\\")
    namespaces = set(re.findall(r"root[\\/]\w+", GUIDE.read_text() + ERRORS.read_text(), re.IGNORECASE))
    assert {name.replace("/", "\\").lower() for name in namespaces} == {script_value("Namespace")}


def test_ports_are_those_of_the_credentials():
    types = (ROOT / "Sources/NMSCore/CredentialType.swift").read_text()
    wmi = re.search(r"case \.wmi: (\d+)", types).group(1)
    https, http = re.search(r"useSSL \? (\d+) : (\d+)", types).groups()
    ports = [script_value(name) for name in ("PortHttp", "PortHttps", "PortEndpointMapper")]
    assert ports == [http, https, wmi]
    ways = [re.search(r"TCP (\d+)", row[2]).group(1) for row in cells(GUIDE.read_text(), "Which way in")[1:4]]
    assert ways == ports


def test_firewall_rules_are_the_same_in_script_and_guide():
    rules = {}
    calls = re.findall(
        r"Test-Firewall '([\w-]+)' '[^']*' (\S+) (?:`\n *)?'([^']*)' (\S+)", SCRIPT.read_text()
    )  # fmt: skip
    for name, port, program, service in calls:
        port = script_value(port[1:]) if port.startswith("$") else "any port"
        program = "System" if program == "System" else f"svchost, {service.strip(chr(39))}"
        rules[name] = (port, program)
    told = {}
    for name, port, program, _ in cells(GUIDE.read_text(), "Firewall")[1:]:
        told[name.strip("`")] = (re.search(r"\d+|any port", port).group(), program)
    assert told == rules and len(rules) == 4


def test_other_facts_are_the_same_in_script_and_guide():
    guide = GUIDE.read_text()
    assert script_value("ServerAuthentication") in guide
    assert script_value("StateKey") in guide
    assert int(script_value("NamespaceRights"), 16) == 0x1 | 0x20
    assert "Enable Account (0x1)" in guide and "Remote Enable (0x20)" in guide
    parameters = re.search(r"^param\((.*?)^\)", SCRIPT.read_text(), re.MULTILINE | re.DOTALL).group(1)
    names = set(re.findall(r"\] \$(\w+)", parameters))
    assert set(re.findall(r"^\.PARAMETER (\w+)", SCRIPT.read_text(), re.MULTILINE)) == names
    for name in names:
        assert f"-{name}" in guide, name
    sections = set(re.findall(r"^# (4\.\d+) ", SCRIPT.read_text(), re.MULTILINE))
    assert set(re.findall(r"^ *- (4\.\d+) ", guide, re.MULTILINE)) == sections and len(sections) > 8
