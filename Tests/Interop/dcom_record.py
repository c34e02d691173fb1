"""Records what impacket or aiowmi sends and receives, or says what it costs.

    dcom_record.py record impacket|aiowmi <job.json >Tests/DCOMTests/Fixtures/Recorded/NAME.json
    dcom_record.py cost impacket|aiowmi <job.json

The job is that of dcom_impacket.py. A recording holds, for every TCP connection, its PDUs in order (`>` from the
client, `<` from the server, base64), the session key of each of its logins in order, and the rows that the client
made of them. The password is not in it.
"""

import asyncio
import json
import sys
import time

import dcom_aiowmi
import dcom_impacket
from dcom_wiretap import Wiretap


def run(client, job):
    if client == "aiowmi":
        return asyncio.run(dcom_aiowmi.run(job))
    dcom_impacket.use_port(job.get("port", 135))
    return dcom_impacket.run(job)


def main():
    mode, client = sys.argv[1:3]
    job = json.load(sys.stdin)
    tap = Wiretap().install()
    wall, processor = time.perf_counter(), time.process_time()
    rows = run(client, job)
    if mode == "cost":
        cost = tap.cost()
        cost["cpu_milliseconds"] = round((time.process_time() - processor) * 1000, 1)
        cost["milliseconds"] = round((time.perf_counter() - wall) * 1000, 1)
        json.dump({"client": client} | cost, sys.stdout)
        return
    recording = {
        "client": client,
        "username": job["username"],
        "domain": job.get("domain", ""),
        "level": job.get("level", "privacy"),
        "queries": job["queries"],
        "connections": [each.recording() for each in tap.connections],
        "rows": rows,
    }
    json.dump(recording, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
