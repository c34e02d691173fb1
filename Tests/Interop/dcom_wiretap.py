"""Listens in on impacket and aiowmi: the PDUs of both directions, and the session key of every security context."""

import base64
import struct

import aiowmi.connection
import aiowmi.protocol
from impacket import ntlm
from impacket.dcerpc.v5 import transport

HEADER_SIZE = 16


class Tapped:
    """One TCP connection."""

    def __init__(self):
        self.port = None
        self.pdus = []  # (from_client, bytes)
        self.waiting = {True: b"", False: b""}
        self.keys = []

    def saw(self, from_client, data):
        self.waiting[from_client] += data
        while len(self.waiting[from_client]) >= HEADER_SIZE:
            length = struct.unpack_from("<H", self.waiting[from_client], 8)[0]
            if len(self.waiting[from_client]) < length:
                return
            self.pdus.append((from_client, self.waiting[from_client][:length]))
            self.waiting[from_client] = self.waiting[from_client][length:]

    def round_trips(self):
        return sum(1 for a, b in zip(self.pdus, self.pdus[1:]) if a[0] and not b[0])

    def recording(self):
        lines = [("> " if up else "< ") + base64.b64encode(data).decode() for up, data in self.pdus]
        return {"port": self.port, "session_keys": [key.hex() for key in self.keys], "pdus": lines}


class Wiretap:
    def __init__(self):
        self.connections = []
        self.by_owner = {}

    def of(self, owner):
        if id(owner) not in self.by_owner:
            # The owner is kept, lest its id be used again.
            made = Tapped()
            self.by_owner[id(owner)] = (owner, made)
            self.connections.append(made)
        return self.by_owner[id(owner)][1]

    def install(self):
        self.install_impacket()
        self.install_aiowmi()
        return self

    def install_impacket(self):
        tap, cls = self, transport.TCPTransport
        send, receive, answer = cls.send, cls.recv, ntlm.getNTLMSSPType3

        def tapped_send(self, data, *arguments, **named):
            connection = tap.of(self)
            connection.port = self.get_dport()
            connection.saw(True, data)
            return send(self, data, *arguments, **named)

        def tapped_receive(self, *arguments, **named):
            data = receive(self, *arguments, **named)
            tap.of(self).saw(False, data)
            return data

        def tapped_answer(*arguments, **named):
            response, key = answer(*arguments, **named)
            # The login is for the connection that received last.
            last = [each for each in tap.connections if each.pdus and not each.pdus[-1][0]][-1]
            last.keys.append(key)
            return response, key

        cls.send, cls.recv, ntlm.getNTLMSSPType3 = tapped_send, tapped_receive, tapped_answer

    def install_aiowmi(self):
        tap, cls = self, aiowmi.protocol.Protocol
        write, received, random = cls.write, cls.data_received, aiowmi.connection.get_random_bytes

        def tapped_write(self, data):
            connection = tap.of(self)
            connection.port = self._transport.get_extra_info("peername")[1]
            connection.saw(True, data)
            return write(self, data)

        def tapped_received(self, data):
            tap.of(self).saw(False, data)
            return received(self, data)

        def tapped_random(count):
            # In this module it makes session keys and nothing else, for the newest connection.
            made = random(count)
            tap.connections[-1].keys.append(made)
            return made

        cls.write, cls.data_received = tapped_write, tapped_received
        aiowmi.connection.get_random_bytes = tapped_random

    def cost(self):
        return {
            "connections": len(self.connections),
            "round_trips": sum(each.round_trips() for each in self.connections),
            "pdus_sent": sum(1 for each in self.connections for up, _ in each.pdus if up),
            "pdus_received": sum(1 for each in self.connections for up, _ in each.pdus if not up),
            "bytes_sent": sum(len(data) for each in self.connections for up, data in each.pdus if up),
            "bytes_received": sum(len(data) for each in self.connections for up, data in each.pdus if not up),
        }
