"""The dashboards of deploy/grafana, and what Grafana makes of the SQL in them.

Only what the dashboards use is expanded, in Grafana's order: its front end replaces variables, then the PostgreSQL data
source replaces macros. Anything else is refused, so that nothing reaches a test that Grafana would have changed.
"""

import json
import re

import yaml

from processes import ROOT

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARDS = sorted((FOLDER / "dashboards").glob("*.json"))
READER = FOLDER / "reader.sql"
#: Points that a panel asks for: its width in pixels.
MAX_DATA_POINTS = 1000
#: Macros that take one column, that take a column and an interval, and that take nothing.
MACROS = {"__timeFilter": 1, "__timeGroup": 2, "__timeGroupAlias": 2, "__timeFrom": 0, "__timeTo": 0}
#: The front end's pattern for variables.
VARIABLE = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^}]+))?(?::([^}]+))?\}")
#: The data source's pattern for macros: no parentheses within arguments.
MACRO = re.compile(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)")
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "y": 31_536_000_000}
#: Grafana rounds an interval below the first number to the second; milliseconds.
ROUNDED = [
    (10, 1), (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1500, 1000), (3500, 2000), (7500, 5000),
    (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000), (90_000, 60_000), (210_000, 120_000),
    (450_000, 300_000), (750_000, 600_000), (1_050_000, 900_000), (1_500_000, 1_200_000), (2_700_000, 1_800_000),
    (5_400_000, 3_600_000), (9_000_000, 7_200_000), (16_200_000, 10_800_000), (32_400_000, 21_600_000),
    (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000), (3_628_800_000, 2_592_000_000),
]  # fmt: skip


def load(path):
    def unique(pairs):
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), f"{path.name}: a key stands twice among {names}"
        return dict(pairs)

    return json.loads(path.read_text(), object_pairs_hook=unique)


def panels(dashboard):
    """All panels, those within collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def statements():
    """Every statement of every dashboard: name, panel or variable, SQL, and whether it is to be a time series."""
    for path in DASHBOARDS:
        dashboard = load(path)
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                name = f"{path.stem}: {panel['title']}" + (f" {target['refId']}" if len(panel["targets"]) > 1 else "")
                yield name, panel, target["rawSql"], target["format"] == "time_series"
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{path.stem}: ${variable['name']}", variable, variable["query"], False


def data_source():
    document = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "nmslite.yaml").read_text())
    return document["datasources"][0]


def milliseconds(text):
    number, unit = re.fullmatch(r"(\d+)(ms|[smhdy])", text).groups()
    return int(number) * UNITS[unit]


def interval(panel, begin, end):
    """$__interval_ms of a panel for a range."""
    wanted = (end - begin).total_seconds() * 1000 / panel.get("maxDataPoints", MAX_DATA_POINTS)
    rounded = next((value for limit, value in ROUNDED if wanted < limit), UNITS["y"])
    return max(rounded, milliseconds(panel.get("interval") or data_source()["jsonData"]["timeInterval"]))


def interval_text(value):
    unit = next(unit for unit in reversed(UNITS) if value >= UNITS[unit])
    return f"{value // UNITS[unit]}{unit}"


def rfc3339(moment):
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].rstrip("0").rstrip(".")
    return text + "Z"


def number(value):
    return str(int(value)) if value == int(value) else str(value)


def expand(sql, begin, end, interval_ms=60_000, **variables):
    """The statement that the database gets; begin and end are in UTC."""
    given = {
        "__interval": interval_text(interval_ms),
        "__interval_ms": str(interval_ms),
        **{name: str(value).replace("'", "''") for name, value in variables.items()},
    }

    def variable(match):
        name = match[1] or match[2] or match[4]
        if name in given and not (match[3] or match[5] or match[6]):
            return given[name]
        if match[1] and sql[match.end() : match.end() + 1] == "(":
            return match[0]
        raise ValueError(f"unknown variable {match[0]}")

    result = VARIABLE.sub(variable, sql)
    result = result.replace("$__unixEpochFrom()", str(int(begin.timestamp())))
    result = result.replace("$__unixEpochTo()", str(int(end.timestamp())))

    def macro(match):
        name, arguments = match[1], [part.strip(" ") for part in match[2].split(",")]
        if name not in MACROS:
            raise ValueError(f"unknown macro ${name}")
        if sum(map(bool, arguments)) != MACROS[name] or len(arguments) > max(1, MACROS[name]):
            raise ValueError(f"wrong arguments of {match[0]}")
        if name == "__timeFilter":
            return f"{arguments[0]} BETWEEN '{rfc3339(begin)}' AND '{rfc3339(end)}'"
        if name in ("__timeFrom", "__timeTo"):
            return f"'{rfc3339(begin if name == '__timeFrom' else end)}'"
        seconds = number(milliseconds(arguments[1].strip("'")) / 1000)
        group = f"floor(extract(epoch from {arguments[0]})/{seconds})*{seconds}"
        # Directly before a comma it is taken for the alias that it once was.
        is_alias = name == "__timeGroupAlias" or match.string[match.end() : match.end() + 1] == ","
        return group + ' AS "time"' if is_alias else group

    result = MACRO.sub(macro, result)
    left = re.search(r"(\$\w|\$\{|\[\[).{,40}", result)
    if left:
        raise ValueError(f"not expanded: {left[0]}")
    return result
