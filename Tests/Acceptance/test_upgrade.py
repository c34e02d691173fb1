"""An installation over years: upgraded from the first schema, never downgraded by accident, restored from a backup."""

import re
import subprocess

from observing import Database
from processes import ADMIN_PASSWORD, BIN, HOST_PASSWORD, ROOT, Server, wait_until
from servers import SECRETS, ExternalPostgres
from test_first_steps import NTLM, first_row

MIGRATIONS = ROOT / "migrations"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def nmslite(*arguments, status=0, **options):
    finished = subprocess.run(
        [str(part) for part in (BIN / "nmslite", *arguments)], capture_output=True, text=True, timeout=90, **options
    )
    assert finished.returncode == status, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


SCHEMA = """
    SELECT format('%s.%s %s %s', table_name, column_name, data_type, is_nullable) FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name !~ '^metrics_y?[0-9]' AND table_name <> 'schema_migrations'
    UNION ALL
    SELECT indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename !~ '^metrics_y?[0-9]' AND tablename <> 'schema_migrations'
    UNION ALL
    SELECT format('%s %s %s', conrelid::regclass, contype, conname) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text !~ '^(metrics_y?[0-9]|schema_migrations)'
    ORDER BY 1
"""


def schema(postgres, database):
    """Columns, indexes and constraints, without what is made at run time and without the migrations' own."""
    finished = subprocess.run(
        ["psql", "-XAtq", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres", "-d", database, "-c", SCHEMA],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return finished.stdout.splitlines()


def polls_on(server, curl, device, since):
    """Rows go on after a moment, signed in with the stored credential."""

    def newer():
        status, answer = curl("GET", f"/devices/{device}/metrics")
        return status == 200 and answer["data"]["timestamp"] > since and answer["data"]

    return wait_until(newer, 30, f"a poll after {since}:\n{server.child.output[-2000:]}")


def test_from_the_first_schema_to_this_one_with_data_in_it(start, folder):
    fleet = start.winsim(1)
    server = start.server()
    curl, device, before = first_row(server, fleet, NTLM)
    server.stop()
    # Back to the first schema, step by step; what it knew stays.
    downs = []
    while "took back" in (said := nmslite("migrate", "down", "--data_dir", server.data)) and len(downs) < 50:
        downs.append(re.search(r"took back (\d+)", said).group(1))
        if downs[-1] == "2":
            break
    assert downs[-1] == "2" and len(downs) == len(list(MIGRATIONS.glob("*.up.sql"))) - 1

    # It is the first schema, and not merely something older: the same as that one's own file makes it.
    dump = subprocess.run(
        [BIN / "nmslite", "database", "run", "pg_dump", "--format=custom", "--no-owner", "--data_dir", server.data],
        capture_output=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    postgres = ExternalPostgres(folder)
    try:
        server_options = ["-h", "127.0.0.1", "-p", str(postgres.port), "-U", "nmslite"]
        subprocess.run(
            ["pg_restore", *server_options, "-d", "nmslite", "--no-owner"], input=dump, check=True, timeout=60
        )
        postgres._psql("postgres", "CREATE DATABASE first OWNER nmslite")
        first = MIGRATIONS / "000001_init_schema.up.sql"
        subprocess.run(
            ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *server_options, "-d", "first", "-f", first],
            check=True, timeout=60,
        )  # fmt: skip
        wanted = schema(postgres, "first")
        assert len(wanted) > 50 and schema(postgres, "nmslite") == wanted
    finally:
        postgres.stop()

    server.start()
    curl.token = None
    _, login = curl("POST", "/auth/login", {"username": "admin", "password": ADMIN_PASSWORD})
    curl.token = login["data"]["access_token"]
    polls_on(server, curl, device, before["timestamp"])
    status, history = curl("GET", f"/devices/{device}/metrics/history?interval=raw")
    assert status == 200 and history["data"]["points"][0]["timestamp"] <= before["timestamp"]


def test_an_older_program_refuses_a_newer_database(folder):
    postgres = ExternalPostgres(folder)
    try:
        options = [*postgres.arguments, "--data_dir", folder / "data"]
        nmslite("migrate", "up", *options, env=SECRETS)
        database = Database("127.0.0.1", postgres.port)
        database.run("INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'of_the_future', 'x')")
        newest = len(list(MIGRATIONS.glob("*.up.sql")))
        for command in (["serve", "--server.port", "0"], ["migrate", "up"]):
            said = nmslite(*command, *options, env=SECRETS, status=78)
            assert "9999" in said and f" {newest}" in said and "newer nmslite" in said
    finally:
        postgres.stop()


def commands(heading):
    """The blocks of commands of a section of docs/operations.md."""
    section = OPERATIONS[OPERATIONS.index(f"## {heading}") :]
    section = section[: section.index("\n## ", 3)]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_a_backup_restored_on_an_empty_machine_polls_on(start, folder):
    fleet = start.winsim(1)
    server = start.server()
    curl, device, before = first_row(server, fleet, NTLM)
    backup, restore = commands("Backup and restore")

    def shell(block, data):
        script = "set -eu -o pipefail\n" + block.replace("data=/var/lib/nmslite", f"data={data}")
        path = {"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"}
        finished = subprocess.run(["bash", "-c", script], cwd=folder, env=path, capture_output=True, text=True, timeout=90)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert HOST_PASSWORD not in finished.stdout + finished.stderr

    shell(backup, server.data)
    server.stop()
    empty = Server(folder, name="restored")
    shell(restore, empty.data)
    # Without the first password: users are those of the backup.
    del empty.environment["NMSLITE_ADMIN_PASSWORD"]
    try:
        empty.start()
        curl.server, curl.token = empty, None
        status, login = curl("POST", "/auth/login", {"username": "admin", "password": ADMIN_PASSWORD})
        assert status == 200, login
        curl.token = login["data"]["access_token"]
        row = polls_on(empty, curl, device, before["timestamp"])
        assert row["memory"]["total_bytes"] == before["memory"]["total_bytes"]
        status, history = curl("GET", f"/devices/{device}/metrics/history?interval=raw")
        assert before["timestamp"] in [point["timestamp"] for point in history["data"]["points"]]
    finally:
        empty.stop()
