"""Runs WMI queries with aiowmi. Takes the same job as dcom_impacket.py, without level and batch, and `optimize`
(default true), which uses the smart enumerator, and gives the same result.

aiowmi has two ways to be wrong: left to itself it takes the class's place for a NULL or a zero, which is all ones in
what has no default; told to ignore defaults it makes NULL of zeros. `ignore_defaults` (default false) chooses.
"""

import asyncio
import datetime
import json
import signal
import sys

from aiowmi.connection import Connection
from aiowmi.query import Query

# Seconds after which a host that does not answer ends this script.
TIME_LIMIT = 120


def value_of(value):
    """aiowmi takes times apart; put together again as CIM_DATETIME."""
    if isinstance(value, datetime.datetime):
        minutes = int(value.utcoffset().total_seconds() // 60)
        return "%s%+04d" % (value.strftime("%Y%m%d%H%M%S.%f"), minutes)
    return value


def connect(job):
    return Connection(
        job["address"], job["username"], job["password"], domain=job.get("domain", ""), port=job.get("port", 135)
    )


async def query_all(connection, service, job):
    result = {}
    for name, text in job["queries"].items():
        query = Query(text, namespace=job.get("namespace", "root/cimv2"))
        rows = result[name] = []
        async with query.context(connection, service, skip_optimize=not job.get("optimize", True)) as context:
            async for properties in context.results(ignore_defaults=job.get("ignore_defaults", False)):
                rows.append({name: value_of(each.value) for name, each in properties.items()})
    return result


async def run(job):
    connection = connect(job)
    await connection.connect()
    service = None
    try:
        service = await connection.negotiate_ntlm()
        return await query_all(connection, service, job)
    finally:
        if service:
            service.close()
        connection.close()


def main():
    # Who starts this may have blocked it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.alarm(TIME_LIMIT)
    job = json.load(sys.stdin)
    try:
        output = {"rows": asyncio.run(run(job))}
    except Exception as error:  # the test judges it
        output = {"error": {"type": type(error).__name__, "text": str(error)}}
    json.dump(output, sys.stdout)


if __name__ == "__main__":
    main()
