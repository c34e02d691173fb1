"""The dashboards of deploy/grafana: every statement as Grafana sends it, as the role that it signs in as."""

import csv
import datetime
import io
import itertools
import json
import re
import subprocess

import pytest
import yaml

import grafana
import test_history
from processes import BIN, Folder
from servers import SECRETS, ExternalPostgres

UTC = datetime.timezone.utc
HOUR = datetime.timedelta(hours=1)
RANGES = {"1 h": HOUR, "24 h": 24 * HOUR, "7 d": 168 * HOUR, "30 d": 720 * HOUR}
#: Seconds between two polls.
INTERVAL = 300
DAYS = 31
#: Devices that have rows; the first is the one that the device's dashboard shows.
DEVICES = 4
#: In which the first device has no rows: hours before the end.
SILENT = [(20, 17), (0.75, 0.25)]
#: Its counters begin anew: hours before the end.
REBOOT = 30
READABLE = {"metrics", "metrics_hourly", "metrics_hourly_state", "devices"}
NUMERIC = ("integer", "bigint", "smallint", "numeric", "double precision", "real")
STATEMENTS = {name: rest for name, *rest in grafana.statements()}


class Populated:
    """A PostgreSQL with the real migrations and a month of four devices."""

    def __init__(self, folder):
        self.folder = folder
        self.server = ExternalPostgres(folder, "fsync=off")
        self.database = self.server.database
        self.end = datetime.datetime.now(UTC).replace(microsecond=0)
        self.migrate()
        self.fill()
        self.grant()

    def migrate(self):
        command = [BIN / "nmslite", "migrate", "up", *self.server.arguments, "--data_dir", self.folder / "data"]
        done = subprocess.run([str(part) for part in command], env=SECRETS, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def fill(self):
        begin = self.end - datetime.timedelta(days=DAYS)
        self.database.run(
            f"""
            INSERT INTO devices (
                ip, hostname, status, last_result_at, last_error_code, last_error_message, consecutive_failures,
                polling_interval, last_error_at, last_seen, created_at, updated_at
            )
            SELECT given.*, {INTERVAL}, '{self.end}', '{self.end}', '{begin}', '{begin}' FROM (VALUES
                ('192.0.2.1', 'WIN-01', 'monitoring', '{self.end}'::timestamptz, NULL, NULL, 0),
                ('192.0.2.2', NULL, 'unreachable', '{self.end}', 'timeout', 'late', 9),
                ('192.0.2.3', 'O''Neill', 'monitoring', '{self.end}', 'counters_missing', 'gone', 0),
                ('192.0.2.4', 'WIN-04', 'monitoring', '{self.end}', NULL, NULL, 0),
                ('192.0.2.5', NULL, 'provisioned', NULL, NULL, NULL, 0),
                ('192.0.2.6', NULL, 'discovered', NULL, NULL, NULL, 0)
            ) AS given
            """
        )
        until = (self.end - datetime.timedelta(minutes=5)).replace(minute=0, second=0)
        silent = " OR ".join(
            f"at >= '{self.end - first * HOUR}' AND at < '{self.end - last * HOUR}'" for first, last in SILENT
        )
        reboot = self.end - REBOOT * HOUR
        for first, last in test_history.months(begin.replace(second=0), self.end):
            table = f"metrics_y{first:%Y}m{first:%m}"
            self.database.run(
                f"""
                SET ROLE nmslite;
                CREATE TABLE {table} (LIKE metrics INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
                ALTER TABLE metrics ATTACH PARTITION {table} FOR VALUES FROM ('{first}') TO ('{last}');
                INSERT INTO {table} (
                    device_id, timestamp, cpu_usage_percent, memory_total_bytes, memory_used_bytes,
                    memory_usage_percent, disk_total_bytes, disk_used_bytes, disk_usage_percent,
                    net_bytes_sent_per_sec, net_bytes_recv_per_sec, net_utilization_percent, net_packets_sent,
                    net_packets_recv, net_errors, net_dropped, process_count
                )
                SELECT device, at, CASE WHEN n % 7 > 0 THEN 10 * device + n % 10 END, 8 << 30, device << 30,
                    12.5 * device, 1000000000, device * 100000000, 10 * device, 1000 * device, 2000 * device, device,
                    up * 5, up * 10, up / 300, up / 150, 40 + n % 20
                FROM generate_series(0, {DAYS * 86400 // INTERVAL} - 1) AS n
                CROSS JOIN generate_series(1, {DEVICES}) AS device
                CROSS JOIN LATERAL (
                    SELECT '{self.end}'::timestamptz - (n * {INTERVAL} + 7 * device) * INTERVAL '1 second' AS at
                ) AS polled
                CROSS JOIN LATERAL (
                    SELECT extract(epoch FROM at)::bigint - CASE WHEN at < '{reboot}' THEN 1000000000
                        ELSE extract(epoch FROM '{reboot}'::timestamptz)::bigint END AS up
                ) AS uptime
                WHERE at >= '{first}' AND at < '{last}' AND NOT (device = 1 AND ({silent}))
                    AND NOT (device = 2 AND at > '{self.end - 3 * HOUR}')
                """
            )
            test_history.roll_up(self.database, table, until)
        self.until = until
        self.database.run(f"UPDATE metrics_hourly_state SET rolled_up_until = '{until}'; ANALYZE")

    def psql(self, script, user="nmslite_reader", check=True, arguments=()):
        """As somebody who signs in; with the output as CSV."""
        command = ["psql", "-X", "-q", "--csv", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.server.port)]
        command += ["-U", user, "-d", "nmslite", *arguments]
        done = subprocess.run(command, input=script, text=True, capture_output=True, timeout=60)
        if check:
            assert done.returncode == 0, f"{done.stderr}\n{script}"
        return done

    def grant(self):
        self.psql("", user="postgres", arguments=["-f", grafana.READER])

    def ask(self, sql):
        """Types by column, and rows as dictionaries."""
        output = self.psql(f"{sql}\n\\gdesc\n\\echo ---\n{sql}\n;\n").stdout
        described, _, answer = output.partition("---\n")
        types = {line["Column"]: line["Type"] for line in csv.DictReader(io.StringIO(described))}
        assert len(types) == described.count("\n") - 1, f"two columns have one name: {described}"
        return types, list(csv.DictReader(io.StringIO(answer)))

    def panel(self, name, length, end=None):
        panel, sql, _ = STATEMENTS[name]
        end = end or self.end
        begin = end - length
        return self.ask(grafana.expand(sql, begin, end, grafana.interval(panel, begin, end), device=1))


@pytest.fixture(scope="module")
def populated():
    folder = Folder()
    folder.path.joinpath("data").mkdir()
    try:
        populated = Populated(folder.path)
        yield populated
        populated.server.stop()
    finally:
        folder.remove()


# What is in the files


def overlap(first, second):
    one, other = first["gridPos"], second["gridPos"]
    return (
        one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"]
    )  # fmt: skip


def test_dashboards_are_whole():
    assert [path.stem for path in grafana.DASHBOARDS] == ["device", "fleet"]
    source = grafana.data_source()
    uids = []
    for path in grafana.DASHBOARDS:
        dashboard = grafana.load(path)
        uids.append(dashboard["uid"])
        assert dashboard["id"] is None and dashboard["title"] and dashboard["schemaVersion"] >= 39
        panels = list(grafana.panels(dashboard))
        ids = [panel["id"] for panel in panels]
        assert len(ids) == len(set(ids)), f"{path.name}: panels have the same id"
        titles = [panel["title"] for panel in panels]
        assert all(titles) and len(titles) == len(set(titles)), f"{path.name}: a panel lacks a title of its own"
        for panel in panels:
            place = panel["gridPos"]
            assert 0 <= place["x"] and place["x"] + place["w"] <= 24 and min(place["w"], place["h"]) > 0, panel["title"]
            assert panel["datasource"]["uid"] == source["uid"] and panel["targets"], panel["title"]
            assert all(target["datasource"]["uid"] == source["uid"] for target in panel["targets"]), panel["title"]
        for one, other in itertools.combinations(panels, 2):
            assert not overlap(one, other), f"{path.name}: {one['title']} and {other['title']} overlap"
        for variable in dashboard["templating"]["list"]:
            assert variable["datasource"]["uid"] == source["uid"]
    assert len(uids) == len(set(uids))
    links = {uid for path in grafana.DASHBOARDS for uid in re.findall(r'"/d/([\w-]+)', path.read_text())}
    assert links == set(uids)
    # The data source must not need more connections than the role may have.
    limit = int(re.search(r"CONNECTION LIMIT (\d+)", grafana.READER.read_text())[1])
    assert source["user"] == "nmslite_reader" and source["jsonData"]["maxOpenConns"] < limit
    document = yaml.safe_load((grafana.FOLDER / "provisioning" / "dashboards" / "nmslite.yaml").read_text())
    assert [provider["type"] for provider in document["providers"]] == ["file"]


def test_macros_expand_as_in_grafana():
    begin = datetime.datetime(2018, 4, 12, 18, tzinfo=UTC)
    end = begin + datetime.timedelta(minutes=5, milliseconds=500)

    def expand(sql, **variables):
        return grafana.expand(sql, begin, end, 1_200_000, **variables)

    assert expand("$__timeFilter(t)") == "t BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00.5Z'"
    assert expand("$__timeGroupAlias(t , '5m')") == 'floor(extract(epoch from t)/300)*300 AS "time"'
    assert expand("$__timeGroup(t,'$__interval') AS x") == "floor(extract(epoch from t)/1200)*1200 AS x"
    assert expand("$__timeGroup(t,'90s'), v") == 'floor(extract(epoch from t)/90)*90 AS "time", v'
    assert expand("$__interval $__interval_ms $__timeFrom()") == "20m 1200000 '2018-04-12T18:00:00Z'"
    assert expand("$__unixEpochTo() - $__unixEpochFrom()") == "1523556300 - 1523556000"
    assert expand("'$device' '${device}'", device="it's") == "'it''s' 'it''s'"
    for wrong in (
        "$__timeFiltre(t)", "$__unixEpochFilter(t)", "$__range_s", "$host", "${device:raw}", "[[host]]",
        "$__timeFilter()", "$__timeGroup(t)", "$__timeFilter(coalesce(t, u))", "$__timeGroup(t, '5m', NULL)",
    ):  # fmt: skip
        with pytest.raises(ValueError):
            expand(f"SELECT {wrong} FROM t", device=1)
    expected = {HOUR: "1m", 24 * HOUR: "1m", 168 * HOUR: "10m", 720 * HOUR: "30m", 2160 * HOUR: "2h"}
    for length, text in expected.items():
        assert grafana.interval_text(grafana.interval({}, begin, begin + length)) == text
    assert grafana.interval({"interval": "5m"}, begin, end) == 300_000


# What the database answers


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement(populated, name):
    panel, _, is_series = STATEMENTS[name]
    type_ = panel["type"]
    assert is_series == (type_ == "timeseries")
    for text, length in RANGES.items():
        types, rows = populated.panel(name, length)
        assert rows, f"no row for {text}"
        if type_ == "query":
            assert list(types) == ["__text", "__value"] and all(row["__text"] and row["__value"] for row in rows)
        elif type_ == "timeseries":
            times = [float(row["time"]) for row in rows]
            assert types.pop("time") in ("numeric", "timestamp with time zone")
            assert times == sorted(set(times)), f"{text}: times do not ascend"
            first, last = (populated.end - length).timestamp(), populated.end.timestamp()
            step = grafana.interval(panel, populated.end - length, populated.end) / 1000
            assert first - max(step, 3600) <= times[0] and times[-1] <= last, f"{text}: times out of range"
            assert types and all(kind == "double precision" for kind in types.values()), types
            assert all(any(row[column] for row in rows) for column in types), f"{text}: a column without any value"
        elif type_ == "stat":
            assert len(rows) == 1 and all(kind in NUMERIC for kind in types.values()), types
        else:
            assert type_ == "table", f"unknown panel type {type_}"
    check_units(panel, types)


def check_units(panel, types):
    """Numbers have a unit, moments a format; hidden columns need none."""
    if "fieldConfig" not in panel:
        return
    overrides = {
        override["matcher"]["options"]: {part["id"]: part["value"] for part in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    }
    assert set(overrides) <= set(types), f"overrides of columns that are not there: {set(overrides) - set(types)}"
    default = panel["fieldConfig"]["defaults"].get("unit")
    for column, kind in types.items():
        own = overrides.get(column, {})
        if not own.get("custom.hidden") and (kind in NUMERIC or kind.startswith("timestamp")):
            assert own.get("unit", default), f"{panel['title']}: {column} has no unit"


def relations(plan):
    """Rows that the parts of a plan took from each table."""
    if "Relation Name" in plan:
        yield plan["Relation Name"], plan["Actual Rows"] * plan["Actual Loops"]
    for part in plan.get("Plans", []):
        yield from relations(part)


@pytest.mark.parametrize("name", [name for name in STATEMENTS if re.search(r"metrics_hourly\b", STATEMENTS[name][1])])
def test_long_ranges_are_read_from_hours(populated, name):
    panel, sql, _ = STATEMENTS[name]
    for length, is_long in ((HOUR, False), (720 * HOUR, True)):
        begin = populated.end - length
        expanded = grafana.expand(sql, begin, populated.end, grafana.interval(panel, begin, populated.end), device=1)
        output = populated.psql(f"EXPLAIN (ANALYZE, FORMAT JSON) {expanded};", user="postgres").stdout
        (_, (plan,)) = csv.reader(io.StringIO(output))
        taken = {}
        for relation, rows in relations(json.loads(plan)[0]["Plan"]):
            kind = "rows" if relation.startswith("metrics_y") else relation
            taken[kind] = taken.get(kind, 0) + rows
        # Rows since the last hourly value, of every device and for each column that is read at most.
        recent = (populated.end - populated.until).total_seconds() / INTERVAL + 2
        assert taken.get("rows", 0) <= DEVICES * (recent if is_long else 3600 / INTERVAL + 2), taken
        assert bool(taken.get("metrics_hourly", 0)) == is_long, taken


def test_values_are_those_of_the_rows(populated):
    database = populated.database
    # Hours, and rows since: as plain arithmetic over all rows has it, in an hour's steps.
    begin = (populated.end - 168 * HOUR).replace(minute=0, second=0)
    panel, sql, _ = STATEMENTS["device: CPU"]
    for interval in (3_600_000, 7_200_000):
        _, rows = populated.ask(grafana.expand(sql, begin, populated.end, interval, device=1))
        expected = database.rows(
            f"""
            SELECT extract(epoch FROM date_bin(INTERVAL '{interval} ms', timestamp, 'epoch')), avg(cpu_usage_percent),
                max(cpu_usage_percent)
            FROM metrics WHERE device_id = 1 AND timestamp BETWEEN '{begin}' AND '{populated.end}' GROUP BY 1 ORDER BY 1
            """
        )
        assert len(rows) == len(expected) > 70
        for row, (at, average, highest) in zip(rows, expected):
            assert float(row["time"]) == float(at)
            # Minutes after the hour there may be one row yet, and that without a value.
            assert bool(row["Average"]) == bool(average) and bool(row["Highest"]) == bool(highest)
            if average:
                assert float(row["Average"]) == pytest.approx(float(average), rel=1e-9)
                assert float(row["Highest"]) == float(highest)
    # As rows have it from the start when nothing is rolled up, and when rows were dropped from hours.
    _, before = populated.ask(grafana.expand(sql, begin, populated.end, 3_600_000, device=1))
    try:
        database.run("UPDATE metrics_hourly_state SET rolled_up_until = NULL")
        _, rows = populated.ask(grafana.expand(sql, begin, populated.end, 3_600_000, device=1))
        assert [row["time"] for row in rows] == [row["time"] for row in before]
        for row, other in zip(rows, before):
            assert bool(row["Average"]) == bool(other["Average"])
            assert float(row["Average"] or 0) == pytest.approx(float(other["Average"] or 0), rel=1e-9)
        earlier = begin + 3 * HOUR
        database.run(
            f"UPDATE metrics_hourly_state SET rolled_up_until = '{populated.until}', "
            f"complete_from = '{begin + 12 * HOUR}'"
        )
        _, rows = populated.ask(grafana.expand(sql, begin, earlier, 60_000, device=1))
        assert len(rows) == 4, "a short range whose rows were dropped is not read from hours"
    finally:
        database.run(f"UPDATE metrics_hourly_state SET rolled_up_until = '{populated.until}', complete_from = NULL")


@pytest.mark.parametrize("text", RANGES)
def test_counters_become_rates(populated, text):
    # 10 and 5 packets a second, an error in 300 s, a dropped packet in 150 s, whatever the range; never negative.
    for name, rates in (
        ("device: Packets", {"Received": 10, "Sent": 5}),
        ("device: Errors and dropped packets", {"Errors": 1 / 300, "Dropped": 1 / 150}),
    ):
        _, rows = populated.panel(name, RANGES[text])
        for column, rate in rates.items():
            values = [float(row[column]) for row in rows if row[column]]
            assert len(values) > 3 and all(value >= 0 for value in values)
            # An hour with a silence at its end is too low.
            assert sorted(values)[len(values) // 2] == pytest.approx(rate, rel=0.01), name
            assert max(values) == pytest.approx(rate, rel=0.25), name


def test_fleet_and_gaps(populated):
    _, rows = populated.panel("fleet: Devices that answered", HOUR)
    assert {float(row["Answered"]) + float(row["Silent"]) for row in rows} == {4.0}
    answered = [float(row["Answered"]) for row in rows]
    # Of four the second is away, and the first for half an hour.
    assert answered.count(2.0) in (5, 6, 7) and answered.count(3.0) == len(answered) - answered.count(2.0)
    _, rows = populated.panel("fleet: Devices that answered", 720 * HOUR)
    assert max(float(row["Answered"]) for row in rows) == 4.0
    _, rows = populated.panel("fleet: Top 10: memory", 168 * HOUR)
    assert [(row["id"], float(row["Memory"])) for row in rows] == [("4", 50), ("3", 37.5), ("2", 25), ("1", 12.5)]
    _, rows = populated.panel("fleet: Fleet network", 24 * HOUR, end=populated.end - 30 * HOUR)
    assert {(float(row["Received"]), float(row["Sent"])) for row in rows} == {(20_000.0, 10_000.0)}
    _, rows = populated.panel("fleet: Devices not polled for three intervals", HOUR)
    assert [row["id"] for row in rows] == ["5"]
    _, rows = populated.panel("fleet: Last errors by code", HOUR)
    assert [(row["Error"], row["Devices"]) for row in rows] == [("counters_missing", "1"), ("timeout", "1")]
    _, rows = populated.panel("device: Gaps", HOUR)
    assert [float(row["Length"]) for row in rows] == [pytest.approx(1800, abs=INTERVAL)]
    _, rows = populated.panel("device: Gaps", 168 * HOUR)
    assert any(7200 <= float(row["Length"]) <= 3 * 3600 for row in rows) and len(rows) in (1, 2)
    _, rows = populated.panel("device: Polls stored", HOUR)
    assert {float(row["Stored"]) for row in rows} >= {0.0, 100.0}
    _, rows = populated.ask("SELECT count(*) FROM devices WHERE id = '7'")
    assert rows == [{"count": "0"}]


# What the role may


def test_reader_sees_nothing_else(populated):
    tables = set(populated.database.value("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT relispartition").split())  # fmt: skip
    assert tables > READABLE | {"credentials", "users", "refresh_tokens", "sessions", "audit_log", "device_credentials"}
    assert {"settings", "discoveries", "discovery_hosts", "sign_in_failures"} < tables
    for table in READABLE - {"devices"}:
        populated.psql(f"SELECT * FROM {table} LIMIT 1;")
    granted = populated.database.value(
        "SELECT string_agg(column_name, ' ') FROM information_schema.column_privileges "
        "WHERE grantee = 'nmslite_reader' AND table_name = 'devices' AND privilege_type = 'SELECT'"
    ).split()
    written = re.search(r"GRANT SELECT \(([^)]+)\) ON devices", grafana.READER.read_text())[1]
    assert sorted(granted) == sorted(re.findall(r"\w+", written))
    populated.psql(f"SELECT {', '.join(granted)} FROM devices;")
    refused = [f"SELECT * FROM {table}" for table in sorted(tables - READABLE)]
    refused += ["SELECT last_error_message FROM devices", "SELECT * FROM devices", "TABLE pg_authid"]
    refused += [f"SELECT * FROM metrics_y{populated.end:%Y}m{populated.end:%m}"]
    for statement in refused:
        done = populated.psql(f"{statement} LIMIT 1;" if "TABLE" not in statement else f"{statement};", check=False)
        assert done.returncode and "permission denied" in done.stderr, f"{statement}: {done.stderr or done.stdout}"


def test_reader_cannot_write(populated):
    first = {"metrics": "device_id", "metrics_hourly": "device_id", "metrics_hourly_state": "is_only", "devices": "id"}
    for table, column in first.items():
        for statement in (
            f"INSERT INTO {table} DEFAULT VALUES", f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}",
            f"TRUNCATE {table}", f"DROP TABLE {table}",
        ):  # fmt: skip
            # Also for one who takes the guard off.
            done = populated.psql(f"SET default_transaction_read_only = off; {statement};", check=False)
            assert done.returncode, f"{statement} was not refused"
            assert "permission denied" in done.stderr or "must be owner" in done.stderr, done.stderr
    for statement in ("CREATE TABLE public.mine (id INTEGER)", "CREATE ROLE other", "SELECT nextval('devices_id_seq')"):
        done = populated.psql(f"SET default_transaction_read_only = off; {statement};", check=False)
        assert done.returncode and "denied" in done.stderr, f"{statement}: {done.stderr}"
    done = populated.psql("CREATE TEMPORARY TABLE mine (id INTEGER);", check=False)
    assert "read-only transaction" in done.stderr


def test_reader_is_limited_and_renewed(populated):
    def show():
        return populated.psql(
            "SELECT current_setting('statement_timeout'), current_setting('default_transaction_read_only'), "
            "current_setting('jit'), current_setting('timezone'), rolconnlimit, rolsuper, rolcreaterole, rolcreatedb, "
            "rolcanlogin FROM pg_roles WHERE rolname = current_user;"
        ).stdout.splitlines()[1]

    assert show() == "10s,on,off,UTC,10,f,f,f,t"
    # An upgrade: what an older file granted is taken back, the password stays, partitions that came later can be read.
    populated.database.run("ALTER ROLE nmslite_reader PASSWORD 'kept'")
    populated.database.run("GRANT SELECT ON users, devices TO nmslite_reader")
    hashed = populated.database.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'nmslite_reader'")
    populated.grant()
    assert populated.database.value("SELECT rolpassword FROM pg_authid WHERE rolname = 'nmslite_reader'") == hashed
    for statement in ("SELECT * FROM users;", "SELECT last_error_message FROM devices;"):
        assert "permission denied" in populated.psql(statement, check=False).stderr
    populated.psql(
        """
        SET ROLE nmslite;
        CREATE TABLE metrics_y2099m01 (LIKE metrics INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
        ALTER TABLE metrics ATTACH PARTITION metrics_y2099m01 FOR VALUES FROM ('2099-01-01Z') TO ('2099-02-01Z');
        INSERT INTO metrics (device_id, timestamp) VALUES (1, '2099-01-02Z');
        """,
        "postgres",
    )
    answer = populated.psql("SELECT count(*) FROM metrics WHERE timestamp > '2099-01-01Z';").stdout
    assert answer.split() == ["count", "1"]
    populated.psql("DROP TABLE metrics_y2099m01;", "postgres")
    assert show() == "10s,on,off,UTC,10,f,f,f,t"
