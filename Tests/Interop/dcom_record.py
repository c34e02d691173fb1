"""Records what impacket or aiowmi sends and receives, or says what it costs.

    dcom_record.py record impacket|aiowmi <job.json >Tests/DCOMTests/Fixtures/Recorded/NAME.json
    dcom_record.py cost impacket|aiowmi <job.json

The job is that of dcom_impacket.py; without queries, those of a poll are asked (QUERIES). With `"server": {options}`
dcom_server.py is started with these options, and asked instead of the host at `address`.

A recording holds, for every TCP connection, its PDUs in order (`>` from the client, `<` from the server, base64), the
session key of each of its logins in order, and the rows that the client made of them. The password is not in it.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time

import dcom_aiowmi
import dcom_impacket
from dcom_wiretap import Wiretap

# Those of Sources/NMSCollectors/WindowsQueries.swift.
QUERIES = {
    "system": "SELECT TotalVisibleMemorySize, FreePhysicalMemory, NumberOfProcesses, Caption, Version, BuildNumber, "
    "LastBootUpTime, LocalDateTime FROM Win32_OperatingSystem",
    "disk": "SELECT DeviceID, Size, FreeSpace FROM Win32_LogicalDisk WHERE DriveType=3",
    "processor": "SELECT Name, PercentProcessorTime, Timestamp_Sys100NS FROM Win32_PerfRawData_PerfOS_Processor "
    "WHERE Name='_Total'",
    "network": "SELECT Name, BytesReceivedPersec, BytesSentPersec, PacketsReceivedPersec, PacketsSentPersec, "
    "PacketsReceivedErrors, PacketsOutboundErrors, PacketsReceivedDiscarded, PacketsOutboundDiscarded, "
    "CurrentBandwidth, Timestamp_PerfTime, Frequency_PerfTime FROM Win32_PerfRawData_Tcpip_NetworkInterface",
    "computer": "SELECT DNSHostName, Domain, PartOfDomain FROM Win32_ComputerSystem",
}


@contextlib.contextmanager
def host(job):
    """The job as it is, or aimed at a dcom_server.py that runs meanwhile."""
    if "server" not in job:
        yield job
        return
    options = {"account": ":".join((job["domain"], job["username"], job["password"])), "address": job["address"]}
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "dcom_server.py")
    command = [sys.executable, script, json.dumps(options | job["server"])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield job | {"port": json.loads(process.stdout.readline())["port"]}
        process.communicate()


def run(client, job):
    if client == "aiowmi":
        return asyncio.run(dcom_aiowmi.run(job))
    dcom_impacket.use_port(job.get("port", 135))
    return dcom_impacket.run(job)


def main():
    mode, client = sys.argv[1:3]
    job = {"queries": QUERIES} | json.load(sys.stdin)
    tap = Wiretap().install()
    with host(job) as aimed:
        wall, processor = time.perf_counter(), time.process_time()
        rows = run(client, aimed)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    if mode == "cost":
        cost = {"cpu_milliseconds": round(processor * 1000, 1), "milliseconds": round(wall * 1000, 1)}
        json.dump({"client": client} | tap.cost() | cost, sys.stdout)
        return
    recording = {
        "client": client,
        "host": "dcom_server.py" if "server" in job else "winsim",
        "username": job["username"],
        "domain": job.get("domain", ""),
        "queries": job["queries"],
        "connections": [each.recording() for each in tap.connections],
        "rows": rows,
    }
    json.dump(recording, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
