"""A history of 90 days of one device among 500, over three million rows: right, by the roll-up, cold and warm.

How long it may take is judged by scripts/bench-history, on a machine that does nothing else; here it is only printed.
"""

import concurrent.futures
import datetime
import math
import os
import subprocess
import time

import pytest

from processes import wait_until

DEVICES = 500
DAYS = 90
#: Between two polls of a device, in seconds: three million rows in all.
INTERVAL = 1300
#: The device whose answers are computed anew, and the days before the end in which it was silent.
DEVICE = 77
SILENT = (42, 40)
#: Number of processes in rows that come late: more than all others have.
LATE = 4000
#: What the test leaves for the server's own roll-up, in days.
BEHIND = 3
#: Devices that are asked for once with cold caches and once with warm ones.
ASKED = range(100, 120)
#: How long a backend of PostgreSQL 15 that has nothing to do may keep its counters to itself, in seconds.
REPORTING = 11
UTC = datetime.timezone.utc
HOUR = datetime.timedelta(hours=1)

#: Columns that have values, and where the API has them.
COLUMNS = {
    "cpu_usage_percent": ("cpu", "usage_percent"),
    "memory_used_bytes": ("memory", "used_bytes"),
    "net_bytes_recv_per_sec": ("network", "bytes_recv_per_sec"),
    "net_packets_sent": ("network", "packets_sent"),
    "process_count": (None, "process_count"),
}
ALL_COLUMNS = """
    cpu_usage_percent memory_total_bytes memory_used_bytes memory_usage_percent disk_total_bytes disk_used_bytes
    disk_usage_percent net_bytes_sent_per_sec net_bytes_recv_per_sec net_utilization_percent net_packets_sent
    net_packets_recv net_errors net_dropped process_count
""".split()


class Database:
    """The server's embedded PostgreSQL, by its socket."""

    def __init__(self, server):
        self.directory = server.data / "postgres"

    def run(self, script):
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", self.directory / "socket"]
        done = subprocess.run(
            [*command, "-U", "postgres", "-d", "nmslite"], input=script, text=True, capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def value(self, query):
        return self.run(query).strip()

    def rows(self, query):
        return [line.split("|") for line in self.run(query).splitlines()]

    def forget_pages(self):
        """Takes the files out of the operating system's memory; the server does not run."""
        for folder, _, files in os.walk(self.directory / "data" / "base"):
            for name in files:
                file = os.open(os.path.join(folder, name), os.O_RDONLY)
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(file)


def text(moment):
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# Filling


def months(start, end):
    month = start.replace(day=1, hour=0, minute=0)
    while month < end:
        following = (month + datetime.timedelta(days=32)).replace(day=1)
        yield month, following
        month = following


def fill(database, first, last, start, end):
    """A month of polls: without indexes at first, which are made when the month is attached."""
    table = f"metrics_y{first:%Y}m{first:%m}"
    silence = [end - datetime.timedelta(days=days) for days in SILENT]
    database.run(
        f"""
        SET synchronous_commit = off; SET maintenance_work_mem = '128MB'; SET work_mem = '128MB';
        SET client_min_messages = warning;
        DROP TABLE IF EXISTS {table};
        CREATE TABLE {table} (LIKE metrics INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
            WITH (autovacuum_enabled = off);
        INSERT INTO {table} (device_id, timestamp, {", ".join(COLUMNS)})
        SELECT device, at, CASE WHEN h % 11 > 0 THEN h % 10001 / 100.0 END, h * 1717986::bigint, h * 257, n * 1000 + h,
            h % 400
        FROM generate_series(0, {DAYS * 86400 // INTERVAL - 1}) AS n CROSS JOIN generate_series(1, {DEVICES}) AS device
        CROSS JOIN LATERAL (SELECT '{start}'::timestamptz
            + (n * {INTERVAL} + device * {INTERVAL}.0 / {DEVICES + 1}) * INTERVAL '1 second' AS at) AS poll
        CROSS JOIN LATERAL (SELECT (device * 7919 + n * 104729::bigint) % 10007 AS h) AS hash
        WHERE n BETWEEN extract(epoch FROM '{first}'::timestamptz - '{start}') / {INTERVAL} - 1
                AND extract(epoch FROM '{last}'::timestamptz - '{start}') / {INTERVAL}
            AND at >= '{first}' AND at < '{last}'
            AND NOT (device = {DEVICE} AND at >= '{silence[0]}' AND at < '{silence[1]}');
        ALTER TABLE metrics ATTACH PARTITION {table} FOR VALUES FROM ('{first}') TO ('{last}');
        ANALYZE {table};
        """
    )
    return table


def roll_up(database, table, until):
    """All hours of a month at once; the product's own job, hour by hour, would take minutes."""
    parts = [(column, part) for column in ALL_COLUMNS for part in ("count", "sum", "min", "max")]
    database.run(
        f"""
        SET synchronous_commit = off; SET work_mem = '256MB';
        -- Else each of a million rows looks for its device.
        SET session_replication_role = replica;
        INSERT INTO metrics_hourly (device_id, hour, row_count, {", ".join(f"{c}_{p}" for c, p in parts)})
        SELECT device_id, date_trunc('hour', timestamp), count(*), {", ".join(f"{p}({c})" for c, p in parts)}
        FROM {table} WHERE timestamp < '{until}' GROUP BY 1, 2 ORDER BY 2, 1
        """
    )


def prepare(database, start, end):
    database.run(
        f"""
        -- Would count among the pages that histories take.
        ALTER TABLE metrics_hourly SET (autovacuum_enabled = off);
        INSERT INTO devices (ip, hostname)
        SELECT '10.0.' || n / 250 || '.' || n % 250 + 1, 'device-' || n FROM generate_series(1, {DEVICES}) AS n
        """
    )
    assert database.value("SELECT max(id) || ' ' || count(*) FROM devices") == f"{DEVICES} {DEVICES}"
    until = (end - datetime.timedelta(days=BEHIND)).replace(minute=0, second=0, microsecond=0)

    def month(bounds):
        roll_up(database, fill(database, *bounds, start, end), until)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(month, months(start, end)))
    database.run(f"UPDATE metrics_hourly_state SET rolled_up_until = '{until}'; ANALYZE metrics_hourly")
    return until


def store_late(database, at):
    """A row that comes into an hour that is rolled up already, as the writer stores it."""
    database.run(
        f"""
        BEGIN;
        INSERT INTO metrics (device_id, timestamp, cpu_usage_percent, process_count)
        VALUES ({DEVICE}, '{at}', 100.00, {LATE});
        INSERT INTO metrics_changes (hour, device_ids)
        VALUES (date_trunc('hour', '{at}'::timestamptz), '{{{DEVICE}}}');
        COMMIT
        """
    )


# What the answers must be, by plain arithmetic on the rows.


def stored(database, start, end):
    rows = []
    for at, *values in database.rows(
        f"""
        SELECT to_char(timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.USZ'), {", ".join(COLUMNS)}
        FROM metrics WHERE device_id = {DEVICE} AND timestamp >= '{start}' AND timestamp < '{end}' ORDER BY timestamp
        """
    ):
        rows.append((moment(at), [float(value) if value else None for value in values]))
    return rows


def computed(rows, seconds):
    buckets = {}
    for at, values in rows:
        bucket = int(at.timestamp()) // seconds * seconds
        buckets.setdefault(bucket, []).append(values)
    return {
        bucket: [[value for value in column if value is not None] for column in zip(*group)]
        for bucket, group in sorted(buckets.items())
    }


def check(history, rows, seconds):
    """Every bucket of the answer, and no other."""
    expected = computed(rows, seconds)
    points = {int(moment(point["timestamp"]).timestamp()): point for point in history["points"]}
    assert [int(moment(point["timestamp"]).timestamp()) for point in history["points"]] == list(expected)
    for bucket, columns in expected.items():
        for (group, name), values in zip(COLUMNS.values(), columns):
            point = points[bucket]
            number = point[group][name] if group else point[name]
            where = f"{name} of {datetime.datetime.fromtimestamp(bucket, UTC)}"
            assert number["min"] == (min(values) if values else None), where
            assert number["max"] == (max(values) if values else None), where
            if values:
                mean = math.fsum(values) / len(values)
                assert number["avg"] == pytest.approx(mean, rel=1e-12), where
            else:
                assert number["avg"] is None, where
        assert points[bucket]["memory"]["total_bytes"] == {"avg": None, "min": None, "max": None}


def p95(values):
    return sorted(values)[math.ceil(len(values) * 0.95) - 1]


# What PostgreSQL did for the answers.

TABLES = """
    SELECT relname, COALESCE(seq_scan, 0), COALESCE(idx_scan, 0), COALESCE(heap_blks_read + heap_blks_hit, 0)
        + COALESCE(idx_blks_read + idx_blks_hit, 0)
    FROM pg_stat_user_tables JOIN pg_statio_user_tables USING (relid, schemaname, relname)
    WHERE relname LIKE 'metrics%' AND relname NOT IN ('metrics_changes', 'metrics_hourly_state')
"""


def work(database, action, count, read):
    """Calls action and says how many pages each table took; backends report what they did within some ten seconds.

    Once more when an hour was rolled up meanwhile, which takes rows of all devices.
    """
    for _ in range(2):
        rolled_up = database.value("SELECT rolled_up_until FROM metrics_hourly_state")
        pages = measured(database, action, count, read)
        if database.value("SELECT rolled_up_until FROM metrics_hourly_state") == rolled_up:
            break
    return pages


def measured(database, action, count, read):

    def counters():
        return {name: [int(value) for value in values] for name, *values in database.rows(TABLES)}

    before = counters()
    action()

    def reported():
        now = counters()
        return now if now[read][1] - before[read][1] >= count else None

    after = wait_until(reported, 30, f"{count} index scans of {read}, or none was made")
    scanned = {name: after[name][0] - before[name][0] for name in before if after[name][0] != before[name][0]}
    assert not scanned, f"read from the first to the last row: {scanned}"
    return {name: after[name][2] - before[name][2] for name in before}


def test_ninety_days_of_one_device_among_500(start, capsys):
    server = start.server()
    api, database = server.api(), Database(server)
    end = datetime.datetime.now(UTC).replace(second=0, microsecond=0)
    begin = end - datetime.timedelta(days=DAYS)
    began = time.monotonic()
    until = prepare(database, begin, end)
    filled = time.monotonic() - began
    assert int(database.value("SELECT count(*) FROM metrics")) > 2_980_000

    def ask(device, **parameters):
        asked = time.monotonic()
        query = {"from": text(begin), "to": text(end), "interval": "auto", **parameters}
        history = api.call("GET", f"/devices/{device}/metrics/history", params=query)
        return history, (time.monotonic() - asked) * 1000

    def day(device):
        return ask(device, **{"from": text(end - datetime.timedelta(days=1)), "interval": "raw"})

    late = begin.replace(minute=0) + datetime.timedelta(days=10, minutes=17)
    store_late(database, late)

    # Cold: neither PostgreSQL nor the operating system remembers a page.
    server.stop()
    database.forget_pages()
    server.start()
    cold, cold_days = [], []
    for device in ASKED:
        history, took = ask(device)
        assert history["interval"] == "6h" and len(history["points"]) in (360, 361)
        cold.append(took)
        history, took = day(device + len(ASKED))
        assert len(history["points"]) in (66, 67)
        cold_days.append(took)

    # Right in every bucket, while the roll-up is three days behind or catching up.
    rows = stored(database, begin, end)
    before, _ = ask(DEVICE)
    assert before["interval"] == "6h" and before["truncated"] is False
    check(before, rows, 6 * 3600)
    times = [moment(point["timestamp"]) for point in before["points"]]
    gap = max(after - before for before, after in zip(times, times[1:]))
    assert datetime.timedelta(days=SILENT[0] - SILENT[1]) - 6 * HOUR < gap <= datetime.timedelta(days=2, hours=6)
    history, _ = ask(DEVICE, limit=2500)
    assert history["interval"] == "1h" and history["truncated"] is False
    check(history, rows, 3600)

    # The server's own roll-up makes up for the days that it was behind; nothing in the answers changes.
    def caught_up():
        # An hour is rolled up five minutes after its end.
        due = "date_trunc('hour', now() - INTERVAL '5 minutes')"
        return database.value(f"SELECT rolled_up_until >= {due} FROM metrics_hourly_state") == "t"

    wait_until(caught_up, 60, "the roll-up has caught up")
    quiet = time.monotonic() + REPORTING
    own = database.value(f"SELECT count(*) FROM metrics_hourly WHERE hour >= '{until}' AND device_id = {DEVICE}")
    assert int(own) > (BEHIND * 24 - 3)
    # With the hour of the late row, which its first step makes anew.
    in_hour = f"device_id = {DEVICE} AND hour = date_trunc('hour', '{late}'::timestamptz)"
    assert database.value(f"SELECT process_count_max FROM metrics_hourly WHERE {in_hour}") == str(LATE)
    again, _ = ask(DEVICE)
    assert again["points"] == before["points"]

    # Another late row, which the roll-up looks for once in a minute, is in the answers at once.
    store_late(database, late + datetime.timedelta(days=20))
    rows = stored(database, begin, end)
    history, _ = ask(DEVICE)
    check(history, rows, 6 * 3600)
    assert [point["process_count"]["max"] for point in history["points"]].count(LATE) == 2
    history, _ = ask(DEVICE, limit=2500)
    check(history, rows, 3600)

    # What the roll-up did must not be counted below.
    time.sleep(max(0, quiet - time.monotonic()))

    # Warm, and what it takes: the device's own hours and rows by the index, whatever else there is.
    warm, warm_days = [], []

    def long_histories():
        for device in ASKED:
            ask(device)
            warm.append(ask(device)[1])

    pages = work(database, long_histories, 2 * len(ASKED), "metrics_hourly")
    asked = 2 * len(ASKED)
    # Hours of all devices lie beside each other: a page for each of 2,160 hours, and for both ends rows of hours.
    assert pages["metrics_hourly"] / asked < DAYS * 24 * 1.5, pages
    assert sum(pages[name] for name in pages if name.startswith("metrics_y")) / asked < 400, pages

    def last_days():
        for device in ASKED:
            day(device)
            warm_days.append(day(device)[1])

    newest = max(name for name in pages if name.startswith("metrics_y") and name <= f"metrics_y{end:%Y}m{end:%m}")
    day_pages = work(database, last_days, 2 * len(ASKED), newest)
    assert day_pages["metrics_hourly"] == 0, day_pages
    assert sum(day_pages.values()) / asked < 400, day_pages

    # The last day as it was stored.
    history, _ = day(DEVICE)
    expected = [(at, values) for at, values in rows if at >= end - datetime.timedelta(days=1)]
    assert history["interval"] == "raw"
    assert [moment(point["timestamp"]).timestamp() for point in history["points"]] == pytest.approx(
        [at.timestamp() for at, _ in expected], abs=0.0006
    )
    for point, (_, values) in zip(history["points"], expected):
        shown = [point[group][name] if group else point[name] for group, name in COLUMNS.values()]
        assert shown == values

    with capsys.disabled():
        print(
            f"\nhistory of 90 days, p95: cold {p95(cold):.0f} ms, warm {p95(warm):.0f} ms,",
            f"{sum(pages.values()) // asked} pages; last day raw: cold {p95(cold_days):.0f} ms,",
            f"warm {p95(warm_days):.0f} ms, {sum(day_pages.values()) // asked} pages;",
            f"{len(rows)} rows of the device, filled in {filled:.0f} s",
        )
