#!/usr/bin/env python3
"""Writes the fixtures of this folder: whole DCE/RPC exchanges as two Python clients send them.

The clients are impacket 0.13.1 (impacket.dcerpc.v5.rpcrt) and aiowmi 1.1.3, as `pip install impacket==0.13.1
aiowmi==1.1.3` brings them. No network is used: a scripted transport plays the server, whose PDUs are built and signed
with the same library's own primitives. Randomness is seeded, so that a second run writes the same bytes.

    python3 generate.py            # beside the fixtures
"""

import json
import os
import random
import struct
import sys

from impacket import ntlm
from impacket.dcerpc.v5 import rpcrt
from impacket.uuid import bin_to_string, uuidtup_to_bin
from Cryptodome.Cipher import ARC4

USER, PASSWORD, DOMAIN = "alice", "correct horse", "LAB"
ACTIVATOR = ("000001A0-0000-0000-C000-000000000046", "0.0")
LOGIN = ("F309AD18-D86A-11D0-A075-00C04FB68820", "0.0")
OBJECT = bytes(range(0x30, 0x40))
NDR = uuidtup_to_bin(("8a885d04-1ceb-11c9-9fe8-08002b104860", "2.0"))


def stub(count, seed):
    return bytes((seed + 7 * index) & 0xFF for index in range(count))


def challenge(flags):
    """A CHALLENGE_MESSAGE as a member server of LAB sends it."""
    pairs = ntlm.AV_PAIRS()
    pairs[ntlm.NTLMSSP_AV_DOMAINNAME] = DOMAIN.encode("utf-16le")
    pairs[ntlm.NTLMSSP_AV_HOSTNAME] = "SRV1".encode("utf-16le")
    pairs[ntlm.NTLMSSP_AV_DNS_DOMAINNAME] = "lab.example".encode("utf-16le")
    pairs[ntlm.NTLMSSP_AV_DNS_HOSTNAME] = "srv1.lab.example".encode("utf-16le")
    pairs[ntlm.NTLMSSP_AV_TIME] = struct.pack("<Q", 133_000_000_000_000_000)
    message = ntlm.NTLMAuthChallenge()
    message["flags"] = flags | ntlm.NTLMSSP_TARGET_TYPE_DOMAIN | ntlm.NTLMSSP_NEGOTIATE_TARGET_INFO \
        | ntlm.NTLMSSP_NEGOTIATE_VERSION
    message["challenge"] = bytes(random.randrange(256) for _ in range(8))
    message["Version"] = b"\x0a\x00\x63\x45\x00\x00\x00\x0f"
    message["VersionLen"] = 8
    name = DOMAIN.encode("utf-16le")
    info = pairs.getData()
    message["domain_name"] = name
    message["domain_len"] = message["domain_max_len"] = len(name)
    message["domain_offset"] = 56
    message["TargetInfoFields"] = info
    message["TargetInfoFields_len"] = message["TargetInfoFields_max_len"] = len(info)
    message["TargetInfoFields_offset"] = 56 + len(name)
    return message.getData()


class Server:
    """Keys and counters of the server's half of one security context."""

    def __init__(self, level, context_id, flags, key):
        self.level, self.context_id, self.flags = level, context_id, flags
        self.signing = ntlm.SIGNKEY(flags, key, b"Server")
        self.sealing = ntlm.SEALKEY(flags, key, b"Server")
        self.handle = ARC4.new(self.sealing).encrypt
        self.sequence = 0

    def response(self, call_id, context, body, flags=3, pad_to=16):
        packet = rpcrt.MSRPCRespHeader()
        packet["type"], packet["flags"], packet["call_id"] = rpcrt.MSRPC_RESPONSE, flags, call_id
        packet["ctx_id"], packet["alloc_hint"] = context, len(body)
        padding = -len(body) % pad_to
        trailer = rpcrt.SEC_TRAILER()
        trailer["auth_type"], trailer["auth_level"] = rpcrt.RPC_C_AUTHN_WINNT, self.level
        trailer["auth_pad_len"], trailer["auth_ctx_id"] = padding, self.context_id
        packet["pduData"] = body + b"\x00" * padding
        packet["sec_trailer"], packet["auth_data"] = trailer.getData(), b" " * 16
        signed = packet.get_packet()[:-16]
        if self.level == rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY:
            sealed, signature = ntlm.SEAL(self.flags, self.signing, self.sealing, signed, packet["pduData"],
                                          self.sequence, self.handle)
            packet["pduData"] = sealed
        else:
            signature = ntlm.SIGN(self.flags, self.signing, signed, self.sequence, self.handle)
        packet["auth_data"] = signature
        self.sequence += 1
        return packet.get_packet()


class Recording:
    def __init__(self):
        self.messages = []

    def add(self, source, name, data, **more):
        self.messages.append({"from": source, "name": name, "hex": data.hex()} | more)


class Transport:
    """Stands where impacket expects its transport."""

    def __init__(self, recording):
        self.recording, self.answers, self.name, self.sent, self.more = recording, b"", "", [], {}

    def send(self, data, forceWriteAndx=0, forceRecv=0):
        self.sent.append(data)
        self.recording.add("client", self.name, data, **self.more)
        if data[2] in (rpcrt.MSRPC_BIND, rpcrt.MSRPC_ALTERCTX):
            self.name = "auth3"
            self.answers += self.bind_ack(data)

    def recv(self, forceRecv=0, count=0):
        data, self.answers = (self.answers[:count], self.answers[count:]) if count else (self.answers, b"")
        return data

    def doesSupportNTLMv2(self):
        return True

    def get_credentials(self):
        return USER, PASSWORD, DOMAIN, "", "", "", None, None

    def bind_ack(self, data):
        header = rpcrt.MSRPCHeader(data)
        trailer = rpcrt.SEC_TRAILER(header["sec_trailer"])
        flags = struct.unpack_from("<L", header["auth_data"], 12)[0]
        ack = rpcrt.MSRPCBindAck()
        alter = header["type"] == rpcrt.MSRPC_ALTERCTX
        ack["type"] = rpcrt.MSRPC_ALTERCTX_R if alter else rpcrt.MSRPC_BINDACK
        ack["call_id"], ack["flags"] = header["call_id"], 3
        ack["max_tfrag"] = ack["max_rfrag"] = 5840
        ack["assoc_group"] = 0x12345
        ack["SecondaryAddr"] = b"" if alter else b"49667"
        ack["SecondaryAddrLen"] = 0 if alter else 6
        ack["Pad"] = b"\x00" * ((4 - (ack["SecondaryAddrLen"] + 26) % 4) % 4)
        ack["ctx_num"] = 1
        ack["ctx_items"] = struct.pack("<HH", 0, 0) + NDR
        answer = rpcrt.SEC_TRAILER()
        answer["auth_type"], answer["auth_level"] = trailer["auth_type"], trailer["auth_level"]
        answer["auth_ctx_id"] = trailer["auth_ctx_id"]
        self.flags, self.context_id = flags, trailer["auth_ctx_id"]
        # MSRPCBindAck computes its length as that of another structure: pack it by hand.
        body = struct.pack("<HHLH", 5840, 5840, 0x12345, ack["SecondaryAddrLen"])
        body += b"" if alter else b"49667\x00"
        body += b"\x00" * (-(16 + len(body)) % 4) + b"\x01\x00\x00\x00" + ack["ctx_items"]
        token = challenge(flags)
        length = 16 + len(body) + 8 + len(token)
        packet = struct.pack("<BBBBLHHL", 5, 0, ack["type"], 3, 0x10, length, len(token), header["call_id"])
        packet += body + answer.getData() + token
        self.recording.add("server", "alter_context_resp" if alter else "bind_ack", packet)
        return packet


def key_of(dce):
    return dce._DCERPC_v5__sessionKey


def impacket(level, path):
    random.seed(level)
    recording = Recording()
    transport = Transport(recording)
    dce = rpcrt.DCERPC_v5(transport)
    dce.set_credentials(USER, PASSWORD, DOMAIN)
    dce.set_auth_type(rpcrt.RPC_C_AUTHN_WINNT)
    dce.set_auth_level(level)
    transport.name = "bind"
    dce.bind(uuidtup_to_bin(ACTIVATOR))
    contexts = [{"id": transport.context_id, "key": key_of(dce).hex()}]
    servers = [Server(level, transport.context_id, dce._DCERPC_v5__flags, key_of(dce))]

    def call(connection, server, opnum, request, responses, object_id=None, context=0):
        transport.name, transport.sent = "request", []
        transport.more = {"opnum": opnum, "stub": request.hex(), "object": (object_id or b"").hex(),
                          "securityContext": server.context_id}
        connection.call(opnum, request, object_id)
        call_id = struct.unpack_from("<L", transport.sent[0], 12)[0]
        transport.more = {}
        for index, (body, pad_to) in enumerate(responses):
            flags = (1 if index == 0 else 0) | (2 if index == len(responses) - 1 else 0)
            packet = server.response(call_id, context, body, flags, pad_to)
            recording.add("server", "response", packet, stub=b"".join(b for b, _ in responses).hex(),
                          securityContext=server.context_id)
            transport.answers += packet
        # impacket itself must read what its primitives made, or the fixture is worth nothing.
        answer = connection.recv()
        assert answer[:4] == responses[0][0][:4]

    call(dce, servers[0], 4, stub(21, 1), [(stub(30, 2), 16)])
    call(dce, servers[0], 5, stub(64, 3), [(stub(13, 4), 4)], OBJECT)
    dce.set_max_fragment_size(700)
    call(dce, servers[0], 6, stub(2000, 5), [(stub(1408, 6), 16), (stub(1408, 7), 16), (stub(100, 8), 16)])
    dce.set_max_fragment_size(-1)

    # A second interface, with a security context of its own on the same connection.
    transport.name = "alter_context"
    other = dce.alter_ctx(uuidtup_to_bin(LOGIN))
    contexts.append({"id": transport.context_id, "key": key_of(other).hex()})
    servers.append(Server(level, transport.context_id, other._DCERPC_v5__flags, key_of(other)))
    call(other, servers[1], 6, stub(40, 9), [(stub(44, 10), 16)], OBJECT, context=1)
    call(dce, servers[0], 7, stub(12, 11), [(stub(8, 12), 16)])
    write(path, {
        "origin": "impacket 0.13.1, dcerpc.v5.rpcrt.DCERPC_v5; server PDUs sealed with impacket.ntlm",
        "level": level, "user": USER, "password": PASSWORD, "domain": DOMAIN,
        "securityContexts": contexts, "messages": recording.messages,
    })


def aiowmi(level, path):
    from aiowmi import tools
    from aiowmi.dcom import Dcom
    from aiowmi.ntlm import auth_authenticate
    from aiowmi.ntlm.auth_challange import NTLMAuthChallenge
    from aiowmi.ntlm.auth_negotiate import NTLMAuthNegotiate
    from aiowmi.ntlm.tools import seal_func, seal_key, sign_func, sign_key
    from aiowmi.rpc.request import RpcRequest

    rng = random.Random(100 + level)
    auth_authenticate.get_random_bytes = lambda count: bytes(rng.randrange(256) for _ in range(count))
    random.seed(level)
    recording = Recording()
    transport = Transport(recording)

    class Protocol:
        _dcom, _auth_type, _auth_level, _context_id = Dcom(), rpcrt.RPC_C_AUTHN_WINNT, level, 79231

    negotiate = NTLMAuthNegotiate()
    Protocol._flags = flags = negotiate.get_negotiate_flags()
    interface = uuidtup_to_bin(ACTIVATOR)
    transport.name = "bind"
    transport.send(Protocol._dcom.get_negotiate_ntlm_pkg(interface, negotiate, level, Protocol._context_id))
    answer = bytes.fromhex(recording.messages[-1]["hex"])
    token = NTLMAuthChallenge(answer[-struct.unpack_from("<H", answer, 10)[0]:])
    third = auth_authenticate.NTLMAuthAuthenticate(flags)
    base_key = third.set_credentials(USER, PASSWORD, token.target_info, token.server_challenge, domain_name=DOMAIN)
    key = bytes(rng.randrange(256) for _ in range(16))
    third.set_encr_random_session_key(tools.encrypted_session_key(base_key, key))
    third.set_workstation_name("10.0.0.1")
    transport.send(Protocol._dcom.get_authenticate_ntlm_pkg(third, level, Protocol._context_id))
    handle = ARC4.new(seal_key(flags, key)).encrypt
    Protocol._client_seal = staticmethod(seal_func(sign_key(flags, key), handle))
    Protocol._client_sign = staticmethod(sign_func(sign_key(flags, key), handle))
    server = Server(level, Protocol._context_id, flags, key)

    for opnum, size, object_id in [(4, 464, None), (6, 88, OBJECT), (20, 120, OBJECT)]:
        body = stub(size, opnum)
        request = RpcRequest(opnum, bin_to_string(object_id) if object_id else None)
        request.set_pdu_data(body)
        data = request.seal_data(Protocol) if level == 6 else request.sign_data(Protocol)
        transport.name = "request"
        transport.more = {"opnum": opnum, "stub": body.hex(), "object": (object_id or b"").hex(),
                          "securityContext": Protocol._context_id}
        transport.send(data)
        transport.more = {}
        call_id = struct.unpack_from("<L", data, 12)[0]
        packet = server.response(call_id, 0, stub(50, opnum))
        recording.add("server", "response", packet, stub=stub(50, opnum).hex(),
                      securityContext=Protocol._context_id)
    write(path, {
        "origin": "aiowmi 1.1.3, dcom and rpc.request; server PDUs sealed with impacket.ntlm",
        "level": level, "user": USER, "password": PASSWORD, "domain": DOMAIN,
        "securityContexts": [{"id": Protocol._context_id, "key": key.hex()}], "messages": recording.messages,
    })


def write(path, value):
    with open(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), path), "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    impacket(rpcrt.RPC_C_AUTHN_LEVEL_PKT_INTEGRITY, "impacket-integrity.json")
    impacket(rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY, "impacket-privacy.json")
    aiowmi(rpcrt.RPC_C_AUTHN_LEVEL_PKT_INTEGRITY, "aiowmi-integrity.json")
    aiowmi(rpcrt.RPC_C_AUTHN_LEVEL_PKT_PRIVACY, "aiowmi-privacy.json")
