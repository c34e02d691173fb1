"""Runs WMI queries with impacket, as its wmiquery does.

Reads a job in JSON from standard input: address, port (of the endpoint mapper), username, password, domain, level
("privacy" or "integrity"), namespace, queries by name, batch (rows a call). Writes {"rows": …} or {"error": …}.
"""

import json
import signal
import socket
import sys

from impacket.dcerpc.v5 import dcomrt, transport
from impacket.dcerpc.v5.dcom import wmi
from impacket.dcerpc.v5.dcomrt import DCOMConnection
from impacket.dcerpc.v5.dtypes import NULL
from impacket.dcerpc.v5.rpcrt import RPC_C_AUTHN_LEVEL_PKT_INTEGRITY, RPC_C_AUTHN_LEVEL_PKT_PRIVACY

LEVELS = {"privacy": RPC_C_AUTHN_LEVEL_PKT_PRIVACY, "integrity": RPC_C_AUTHN_LEVEL_PKT_INTEGRITY}
S_FALSE = 1
# Seconds after which a host that does not answer ends this script.
TIME_LIMIT = 120
# impacket's connection knows no port for the endpoint mapper, and its AUTH3 waits for an acknowledgement.
make_transport = transport.DCERPCTransportFactory
connect = transport.TCPTransport.connect


def use_port(port):
    def factory(binding):
        made = make_transport(binding)
        if "[" not in binding:
            made.set_dport(port)
        return made

    def connect_without_delay(made):
        result = connect(made)
        made.get_socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return result

    dcomrt.transport.DCERPCTransportFactory = factory
    transport.TCPTransport.connect = connect_without_delay


def property_of(found):
    """impacket reads the NdTable's bit for NULL, and then shows what the class has in that place: all ones."""
    return None if found.get("null_default") else value_of(found["value"])


def value_of(value):
    """impacket gives booleans as texts and UTF-16 strings as bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-16le")
    if isinstance(value, list):
        return [value_of(each) for each in value]
    return {"True": True, "False": False}.get(value, value) if isinstance(value, str) else value


def rows_of(enumerator, batch):
    rows = []
    while True:
        try:
            found = enumerator.Next(0xFFFFFFFF, batch)
        except wmi.DCERPCSessionError as error:
            if error.get_error_code() != S_FALSE:
                raise
            # The last rows may come with the status that ends the enumeration.
            for each in error.get_packet()["apObjects"] if error.get_packet() is not None else []:
                data = dcomrt.OBJREF_CUSTOM(b"".join(each["abData"]))["pObjectData"]
                block = wmi.ENCODING_UNIT(data)["ObjectBlock"]
                block.parseObject()
                rows.append({name: property_of(each) for name, each in block.ctCurrent["properties"].items()})
            return rows
        for each in found:
            rows.append({name: property_of(each) for name, each in each.getProperties().items()})


def open_connection(job):
    return DCOMConnection(
        job["address"],
        job["username"],
        job["password"],
        job.get("domain", ""),
        authLevel=LEVELS[job.get("level", "privacy")],
        oxidResolver=False,
    )


def sign_in(connection, job):
    """IWbemServices of the namespace."""
    interface = connection.CoCreateInstanceEx(wmi.CLSID_WbemLevel1Login, wmi.IID_IWbemLevel1Login)
    login = wmi.IWbemLevel1Login(interface)
    services = login.NTLMLogin(job.get("namespace", "//./root/cimv2"), NULL, NULL)
    login.RemRelease()
    return services


def query_all(services, job):
    result = {}
    for name, query in job["queries"].items():
        enumerator = services.ExecQuery(query)
        result[name] = rows_of(enumerator, job.get("batch", 1))
        enumerator.RemRelease()
    return result


def run(job):
    connection = open_connection(job)
    try:
        services = sign_in(connection, job)
        result = query_all(services, job)
        services.RemRelease()
        return result
    finally:
        connection.disconnect()


def main():
    # Who starts this may have blocked it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.alarm(TIME_LIMIT)
    job = json.load(sys.stdin)
    use_port(job.get("port", 135))
    try:
        output = {"rows": run(job)}
    except Exception as error:  # the test judges it
        output = {"error": {"type": type(error).__name__, "text": str(error)}}
    json.dump(output, sys.stdout)


if __name__ == "__main__":
    main()
