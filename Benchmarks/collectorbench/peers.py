#!/usr/bin/env python3
"""What a poll costs other clients in processor time: the same queries of the same hosts, with the session kept.

Reads a job in JSON from standard input: client (pypsrp, pywinrm, impacket or aiowmi), addresses, username, password,
queries (name -> WQL), polls, at_once. Writes what collectorbench writes: microseconds of a poll, cold (with the sign-in) and
warm, of this process's user and system time and of the clock.

Each client is used as its authors mean it to be, at its best: one connection and one sign-in per host, messages sealed,
pages that hold every row, no logging, nothing printed. Rows end as Python values, as ours end as Swift values. As many
hosts are polled at once as by ours, in threads, or in tasks where the client is asynchronous.
"""

import asyncio
import concurrent.futures
import json
import logging
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "Tests" / "Interop"))

#: Rows of a page; no answer of a poll has more.
PAGE = 100


class WSManClient:
    """pypsrp or pywinrm."""

    def __init__(self, module, job):
        self.module = module
        self.job = {**job, "port": 5985, "ssl": False, "auth": "ntlm", "encryption": "always"}

    def open(self, address):
        return self.module.connect({**self.job, "host": address})

    def poll(self, session):
        return {
            name: self.module.enumerate_all(session, query, PAGE)[0] for name, query in self.job["queries"].items()
        }

    def close(self, session):
        pass


class Impacket:
    """Connects by a module of its own, which knows a port for the endpoint mapper."""

    def __init__(self, module, job):
        self.module = module
        self.job = {**job, "batch": PAGE}
        module.use_port(135)

    def open(self, address):
        connection = self.module.open_connection({**self.job, "address": address})
        return connection, self.module.sign_in(connection, self.job)

    def poll(self, session):
        return self.module.query_all(session[1], self.job)

    def close(self, session):
        session[1].RemRelease()
        session[0].disconnect()


class AIOWMI:
    def __init__(self, module, job):
        self.module = module
        self.job = job

    async def open(self, address):
        connection = self.module.connect({**self.job, "address": address})
        await connection.connect()
        return connection, await connection.negotiate_ntlm()

    async def poll(self, session):
        return await self.module.query_all(*session, self.job)

    async def close(self, session):
        session[1].close()
        session[0].close()


def client(job):
    if job["client"] == "pypsrp":
        import winsim_pypsrp

        return WSManClient(winsim_pypsrp, job)
    if job["client"] == "pywinrm":
        import winsim_pywinrm

        return WSManClient(winsim_pywinrm, job)
    if job["client"] == "impacket":
        import dcom_impacket

        return Impacket(dcom_impacket, job)
    import dcom_aiowmi

    return AIOWMI(dcom_aiowmi, job)


class Stopwatch:
    def __init__(self):
        self.wall, self.processor = time.monotonic(), self.used()

    @staticmethod
    def used():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def microseconds(self, polls):
        """(processor, wall) of a poll since the start."""
        return (
            round((self.used() - self.processor) / polls * 1e6),
            round((time.monotonic() - self.wall) / polls * 1e6),
        )


def check(rows, job):
    """A client that reads nothing would be quick."""
    for name in job["queries"]:
        if not rows[name]:
            raise ValueError(f"{job['client']} got no row of {name}")


async def in_threads(work, shares):
    """Runs work(share) of a blocking client in a thread for each share."""
    loop = asyncio.get_running_loop()
    with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
        return await asyncio.gather(*(loop.run_in_executor(pool, work, share) for share in shares))


async def run(job):
    peer = client(job)
    is_async = asyncio.iscoroutinefunction(peer.poll)

    def open_all(addresses):
        sessions = [peer.open(address) for address in addresses]
        for session in sessions:
            check(peer.poll(session), job)
        return sessions

    async def open_all_async(addresses):
        sessions = [await peer.open(address) for address in addresses]
        for session in sessions:
            check(await peer.poll(session), job)
        return sessions

    def poll_all(sessions):
        for _ in range(job["polls"]):
            for session in sessions:
                rows = peer.poll(session)
        check(rows, job)

    async def poll_all_async(sessions):
        for _ in range(job["polls"]):
            for session in sessions:
                rows = await peer.poll(session)
        check(rows, job)

    async def each(work, work_async, shares):
        if is_async:
            return await asyncio.gather(*(work_async(share) for share in shares))
        return await in_threads(work, shares)

    count = len(job["addresses"])
    shares = [job["addresses"][worker :: job["at_once"]] for worker in range(min(job["at_once"], count))]
    watch = Stopwatch()
    sessions = await each(open_all, open_all_async, shares)
    cold = watch.microseconds(count)
    watch = Stopwatch()
    await each(poll_all, poll_all_async, sessions)
    warm = watch.microseconds(job["polls"] * count)
    for session in (session for share in sessions for session in share):
        if is_async:
            await peer.close(session)
        else:
            peer.close(session)
    return {
        "type": job["client"], "at_once": job["at_once"], "hosts": count, "warm_polls": job["polls"] * count,
        "cold_cpu_us": cold[0], "cold_wall_us": cold[1], "warm_cpu_us": warm[0], "warm_wall_us": warm[1],
    }  # fmt: skip


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(json.dumps(asyncio.run(run(json.load(sys.stdin)))))
