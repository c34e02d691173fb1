"""The server's side of connection-oriented DCE/RPC ([MS-RPCE], C706), strict with its client.

A `Connection` reads PDUs with impacket's structures and calls `dispatch(connection, interface, object, opnum, stub)`,
which answers with a stub or raises `Fault`. Everything that a careful client would not do goes to `odd`.
"""

import socket
import struct
import uuid

from dcom_ntlm import INTEGRITY, PRIVACY, SIGNATURE_SIZE, Refused, SecurityContext
from impacket.dcerpc.v5 import rpcrt

NDR = ("8a885d04-1ceb-11c9-9fe8-08002b104860", 2)
# "Bind time feature negotiation": the low half of the UUID carries the features ([MS-RPCE] 3.3.1.5.3).
FEATURES = "6cb71c2c-9812-4540"
LITTLE_ENDIAN = 0x10
FIRST, LAST = rpcrt.PFC_FIRST_FRAG, rpcrt.PFC_LAST_FRAG
DID_NOT_EXECUTE, OBJECT = rpcrt.PFC_DID_NOT_EXECUTE, rpcrt.PFC_OBJECT_UUID
HEADER_SIGN = rpcrt.MSRPC_SUPPORT_SIGN
ACCESS_DENIED = 5
UNKNOWN_INTERFACE = 0x1C010003
OPERATION_RANGE = 0x1C010002
SEC_TRAILER_SIZE = 8


class Fault(Exception):
    """Answered with a fault PDU."""

    def __init__(self, status, executed=False):
        super().__init__("%#x" % status)
        self.status, self.executed = status, executed


class Closed(Exception):
    pass


class Silent(Exception):
    """There is to be no answer."""


class Connection:
    def __init__(self, sock, state, port_name, interfaces, dispatch):
        self.sock, self.state, self.name, self.dispatch = sock, state, port_name, dispatch
        self.interfaces = interfaces
        self.options = state.options
        self.contexts = {}  # presentation contexts
        self.security = {}  # security contexts
        self.max_xmit = self.options.max_frag
        self.last_call = 0
        self.fragments = None
        self.spoil = None

    def odd(self, text):
        self.state.odd("%s: %s" % (self.name, text))

    # Reading

    def exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.sock.recv(count - len(data))
            if not more:
                if data:
                    self.odd("closed in the middle of a PDU")
                raise Closed
            data += more
        return data

    def read(self):
        head = self.exactly(rpcrt.MSRPCHeader._SIZE)
        length = struct.unpack_from("<H", head, 8)[0]
        if length < len(head):
            self.odd("frag_length %d" % length)
            raise Closed
        data = head + self.exactly(length - len(head))
        self.state.count_received(length)
        return data

    def run(self):
        try:
            while True:
                self.take(self.read())
        except (Closed, OSError):
            pass
        finally:
            self.sock.close()

    def take(self, data):
        header = rpcrt.MSRPCHeader(data)
        if (header["ver_major"], header["representation"]) != (5, LITTLE_ENDIAN):
            self.odd("version %d, representation %#x" % (header["ver_major"], header["representation"]))
        if len(data) > self.options.max_frag:
            self.odd("a fragment of %d bytes, more than the %d announced" % (len(data), self.options.max_frag))
        kind = header["type"]
        if kind == rpcrt.MSRPC_BIND or kind == rpcrt.MSRPC_ALTERCTX:
            self.bind(header, data, kind == rpcrt.MSRPC_ALTERCTX)
        elif kind == rpcrt.MSRPC_AUTH3:
            self.auth3(header, data)
        elif kind == rpcrt.MSRPC_REQUEST:
            self.request(header, data)
        elif kind in (rpcrt.MSRPC_ORPHANED, rpcrt.MSRPC_CO_CANCEL):
            self.state.note("cancels")
        else:
            self.odd("a PDU of type %d" % kind)
            raise Closed

    def trailer(self, header, data):
        """Trailer and token of a PDU, and where its body ends; None without one."""
        if not header["auth_len"]:
            return None, b"", len(data)
        at = len(data) - header["auth_len"] - SEC_TRAILER_SIZE
        trailer = rpcrt.SEC_TRAILER(data[at : at + SEC_TRAILER_SIZE])
        if at % 4:
            self.odd("the sec_trailer is at %d" % at)
        if trailer["auth_type"] != rpcrt.RPC_C_AUTHN_WINNT or trailer["auth_rsvrd"]:
            self.odd("auth_type %d, reserved %d" % (trailer["auth_type"], trailer["auth_rsvrd"]))
        if trailer["auth_pad_len"] > 15:
            self.odd("auth_pad_length %d" % trailer["auth_pad_len"])
        return trailer, data[at + SEC_TRAILER_SIZE :], at

    # Binding and signing in

    def bind(self, header, data, is_alter):
        fault = self.state.fault("alter_context" if is_alter else "bind")
        max_xmit, max_recv, group, count = struct.unpack_from("<HHLB", data, 16)
        trailer, token, end = self.trailer(header, data)
        at, results = 28, []
        for _ in range(count):
            number, syntaxes = struct.unpack_from("<HB", data, at)
            abstract = uuid.UUID(bytes_le=data[at + 4 : at + 20])
            version = struct.unpack_from("<HH", data, at + 20)
            at += 24
            offers = []
            for _ in range(syntaxes):
                offers.append((str(uuid.UUID(bytes_le=data[at : at + 16])), struct.unpack_from("<L", data, at + 16)[0]))
                at += 20
            if self.options.late_interfaces and not is_alter and at > 28 + 44:
                results.append(struct.pack("<HH", 2, 3) + bytes(20))  # local limit exceeded
            else:
                results.append(self.accept(number, str(abstract), version, offers))
        if end - at > 15 or (trailer and end - at != trailer["auth_pad_len"]):
            self.odd("%d bytes between the contexts and the trailer" % (end - at))
        if fault:
            return self.fail(header, fault, is_alter)
        if not is_alter:
            if min(max_xmit, max_recv) < 1432:
                self.odd("fragments of %d and %d" % (max_xmit, max_recv))
            self.max_xmit = min(max_recv, self.options.max_frag)
            self.state.note("binds")
            if header["flags"] & HEADER_SIGN:
                self.state.note("header_sign_offers")
        else:
            self.state.note("alter_contexts")
        out = b""
        if token:
            context = SecurityContext(
                trailer["auth_level"], trailer["auth_ctx_id"], self.options.account, self.odd
            )
            self.security[trailer["auth_ctx_id"]] = context
            out = context.challenge(token)
        flags = FIRST | LAST | (header["flags"] & HEADER_SIGN if self.options.header_sign else 0)
        kind = rpcrt.MSRPC_ALTERCTX_R if is_alter else rpcrt.MSRPC_BINDACK
        address = b"" if is_alter else b"135\0"
        body = struct.pack("<HHLH", self.options.max_frag, self.max_xmit, group or 0x1234, len(address)) + address
        body += b"\0" * (-(16 + len(body)) % 4) + struct.pack("<BBH", len(results), 0, 0) + b"".join(results)
        self.state.note("round_trips")
        self.send_plain(kind, flags, header["call_id"], body, trailer, out)

    def accept(self, number, abstract, version, offers):
        """One element of the result list."""
        if NDR in offers and abstract in self.interfaces:
            if self.contexts.get(number, abstract) != abstract:
                self.odd("context %d is in use" % number)
            self.contexts[number] = abstract
            return struct.pack("<HH", 0, 0) + uuid.UUID(NDR[0]).bytes_le + struct.pack("<L", NDR[1])
        if offers and offers[0][0].startswith(FEATURES):
            return struct.pack("<HH", 3, 3) + bytes(20)
        reason = 2 if abstract in self.interfaces else 1
        if reason == 1:
            self.odd("no interface %s version %d.%d" % (abstract, *version))
        return struct.pack("<HH", 2, reason) + bytes(20)

    def auth3(self, header, data):
        trailer, token, end = self.trailer(header, data)
        context = self.security.get(trailer["auth_ctx_id"]) if trailer else None
        if context is None or trailer["auth_level"] != context.level:
            return self.odd("AUTH3 for an unknown context, or with another level")
        if end not in (16, 20):
            self.odd("AUTH3 with %d bytes before its trailer" % (end - 16))
        try:
            context.authenticate(token)
            self.state.note("authentications")
        except Refused as error:
            # No answer to AUTH3: the next request is refused.
            self.state.refused(str(error))

    # Requests

    def request(self, header, data):
        request = rpcrt.MSRPCRequestHeader(data)
        call, flags = header["call_id"], header["flags"]
        start = 40 if flags & OBJECT else 24
        trailer, signature, end = self.trailer(header, data)
        body, level = data[start:end], 1
        context = self.security.get(trailer["auth_ctx_id"]) if trailer else None
        if trailer:
            level = trailer["auth_level"]
            if context is None or not context.is_complete:
                return self.send_fault(header, Fault(ACCESS_DENIED))
            if level != context.level or level not in (INTEGRITY, PRIVACY):
                self.odd("level %d in a context of level %d" % (level, context.level))
            if len(signature) != SIGNATURE_SIZE:
                self.odd("a signature of %d bytes" % len(signature))
            try:
                body = context.open(data[:start], body, data[end : end + SEC_TRAILER_SIZE], signature)
            except Refused as error:
                self.odd(str(error))
                return self.send_fault(header, Fault(ACCESS_DENIED))
            body = body[: len(body) - trailer["auth_pad_len"]]
        elif self.security:
            self.odd("an unprotected request on a connection that signed in")
        if flags & FIRST:
            if call <= self.last_call:
                self.odd("call %d after %d" % (call, self.last_call))
            self.last_call, self.fragments = call, []
            self.state.note("requests")
        elif self.fragments is None:
            self.odd("a fragment without a first one")
            raise Closed
        self.fragments.append(body)
        self.state.note("fragments_received")
        if not flags & LAST:
            return None
        stub, self.fragments = b"".join(self.fragments), None
        hint = request["alloc_hint"]
        if flags & FIRST and hint and hint != len(stub):
            self.odd("alloc_hint %d for %d bytes" % (hint, len(stub)))
        interface = self.contexts.get(request["ctx_id"])
        target = str(uuid.UUID(bytes_le=request["uuid"])) if flags & OBJECT else None
        try:
            if interface is None:
                raise Fault(UNKNOWN_INTERFACE)
            answer = self.dispatch(self, interface, target, request["op_num"], stub, level)
        except Fault as fault:
            return self.send_fault(header, fault)
        except Silent:
            return None
        return self.send_response(header, request["ctx_id"], answer, trailer, context)

    # Answering

    def send(self, data):
        self.state.count_sent(len(data))
        self.sock.sendall(data)

    @staticmethod
    def common(kind, flags, length, auth_length, call):
        return struct.pack("<BBBBLHHL", 5, 0, kind, flags, LITTLE_ENDIAN, length, auth_length, call)

    def send_plain(self, kind, flags, call, body, trailer, token):
        """A PDU whose token is a login's, not a signature."""
        tail = b""
        if token:
            pad = -(16 + len(body)) % 4
            body += b"\0" * pad
            tail = struct.pack("<BBBBL", 10, trailer["auth_level"], pad, 0, trailer["auth_ctx_id"]) + token
        length = 16 + len(body) + len(tail)
        self.send(self.common(kind, flags, length, len(token), call) + body + tail)

    def send_fault(self, header, fault):
        self.state.note("faults_sent")
        flags = FIRST | LAST | (0 if fault.executed else DID_NOT_EXECUTE)
        body = struct.pack("<LHBBLL", 32, 0, 0, 0, fault.status, 0)
        self.send_plain(rpcrt.MSRPC_FAULT, flags, header["call_id"], body, None, b"")

    def send_response(self, header, context_id, stub, trailer, context):
        tail = SEC_TRAILER_SIZE + SIGNATURE_SIZE if context else 0
        room = (self.max_xmit - 24 - tail) // 16 * 16
        if self.options.fragment_body:
            room = min(room, self.options.fragment_body)
        self.state.note("round_trips")
        spoil, self.spoil = self.spoil, None
        at = 0
        while True:
            part = stub[at : at + room]
            flags = (FIRST if at == 0 else 0) | (LAST if at + room >= len(stub) else 0)
            hint = len(stub) - at
            at += len(part)
            pad = -len(part) % self.options.padding if context else 0
            length = 24 + len(part) + pad + tail
            head = self.common(rpcrt.MSRPC_RESPONSE, flags, length, SIGNATURE_SIZE if context else 0, header["call_id"])
            head += struct.pack("<LHBB", hint, context_id, 0, 0)
            if context:
                ending = struct.pack("<BBBBL", 10, context.level, pad, 0, context.context_id)
                sealed, signature = context.protect(head, part + b"\xee" * pad, ending, spoil)
                self.send(head + sealed + ending + signature)
            else:
                self.send(head + part)
            self.state.note("fragments_sent")
            if at >= len(stub):
                return

    def fail(self, header, fault, is_alter):
        """Faults at bind: a bind_nak (or, for alter_context, a fault), or the end of the connection."""
        if self.act(fault):
            return
        if is_alter:
            return self.send_fault(header, Fault(fault["value"]))
        body = struct.pack("<HBBB", fault["value"], 1, 5, 0)
        self.send_plain(rpcrt.MSRPC_BINDNAK, FIRST | LAST, header["call_id"], body, None, b"")

    def act(self, fault):
        """What is the same for every step: true when nothing is to be answered."""
        if fault["do"] == "close":
            raise Closed
        if fault["do"] == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Closed
        if fault["do"] == "silence":
            return True
        if fault["do"] == "spoil":
            self.spoil = fault["what"]
        return False
