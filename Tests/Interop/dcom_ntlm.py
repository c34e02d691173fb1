"""The acceptor's side of an NTLM security context of DCE/RPC.

impacket's functions hash the password, derive the keys and compute signatures; everything is checked over the bytes as
they came. What a client may do and ours must not is told to `odd`.
"""

import os
import struct
import time

from Cryptodome.Cipher import ARC4
from impacket import ntlm

INTEGRITY = 5
PRIVACY = 6
SIGNATURE_SIZE = 16
MIC_OFFSET = 72
# What a client that signs, seals and binds its messages together has to ask for.
WANTED = {
    "UNICODE": ntlm.NTLMSSP_NEGOTIATE_UNICODE,
    "SIGN": ntlm.NTLMSSP_NEGOTIATE_SIGN,
    "SEAL": ntlm.NTLMSSP_NEGOTIATE_SEAL,
    "NTLM": ntlm.NTLMSSP_NEGOTIATE_NTLM,
    "ALWAYS_SIGN": ntlm.NTLMSSP_NEGOTIATE_ALWAYS_SIGN,
    "EXTENDED_SESSIONSECURITY": ntlm.NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY,
    "128": ntlm.NTLMSSP_NEGOTIATE_128,
    "KEY_EXCH": ntlm.NTLMSSP_NEGOTIATE_KEY_EXCH,
}
CHALLENGE_FLAGS = (
    ntlm.NTLMSSP_REQUEST_TARGET
    | ntlm.NTLMSSP_NEGOTIATE_TARGET_INFO
    | ntlm.NTLMSSP_TARGET_TYPE_DOMAIN
    | ntlm.NTLMSSP_NEGOTIATE_56
    | ntlm.NTLMSSP_NEGOTIATE_VERSION
)
NT_EPOCH_SECONDS = 11644473600


class Refused(Exception):
    pass


class SecurityContext:
    """`account` is DOMAIN:user:password."""

    def __init__(self, level, context_id, account, odd):
        self.level, self.context_id, self.odd = level, context_id, odd
        self.domain, self.user, self.password = account.split(":", 2)
        self.is_complete = False
        self.messages = []
        self.nonce = os.urandom(8)
        self.key = b""

    def challenge(self, token):
        asked = struct.unpack_from("<L", token, 12)[0]
        known = sum(WANTED.values())
        if token[:12] != b"NTLMSSP\0\1\0\0\0" or asked & known != known:
            self.odd("NTLM: NEGOTIATE with flags %#x" % asked)
        pairs = ntlm.AV_PAIRS()
        pairs[ntlm.NTLMSSP_AV_DOMAINNAME] = self.domain.encode("utf-16le")
        pairs[ntlm.NTLMSSP_AV_HOSTNAME] = "PYTHON".encode("utf-16le")
        pairs[ntlm.NTLMSSP_AV_DNS_DOMAINNAME] = "fabrikam.test".encode("utf-16le")
        pairs[ntlm.NTLMSSP_AV_DNS_HOSTNAME] = "python-host.fabrikam.test".encode("utf-16le")
        self.timestamp = struct.pack("<Q", int((time.time() + NT_EPOCH_SECONDS) * 10_000_000))
        pairs[ntlm.NTLMSSP_AV_TIME] = self.timestamp
        made = ntlm.NTLMAuthChallenge()
        made["flags"] = (asked & known) | CHALLENGE_FLAGS
        made["challenge"] = self.nonce
        made["domain_name"] = self.domain.encode("utf-16le")
        made["domain_offset"] = 56
        made["TargetInfoFields"] = pairs
        made["TargetInfoFields_offset"] = 56 + len(made["domain_name"])
        version = ntlm.VERSION()
        version["ProductMajorVersion"], version["ProductMinorVersion"], version["ProductBuild"] = 6, 1, 7601
        made["Version"] = version
        made["VersionLen"] = 8
        self.messages = [token, made.getData()]
        return self.messages[1]

    def authenticate(self, token):
        """Proves the password; raises Refused."""
        message = ntlm.NTLMAuthChallengeResponse()
        message.fromString(token)
        user, domain = (message[name].decode("utf-16le") for name in ("user_name", "domain_name"))
        if user.upper() != self.user.upper() or domain.upper() not in ("", "PYTHON", self.domain.upper()):
            raise Refused("no account %s\\%s" % (domain, user))
        answer = message["ntlm"]
        proof, rest = answer[:16], answer[16:]
        owf = ntlm.NTOWFv2(user, self.password, domain)
        if len(rest) < 28 or ntlm.hmac_md5(owf, self.nonce + rest) != proof:
            raise Refused("the password is not the one of %s" % user)
        self.flags = message["flags"]
        key = ntlm.KXKEY(self.flags, ntlm.hmac_md5(owf, proof), b"", self.nonce, "", "", "", True)
        if self.flags & ntlm.NTLMSSP_NEGOTIATE_KEY_EXCH:
            length, offset = struct.unpack_from("<H", token, 52)[0], struct.unpack_from("<L", token, 56)[0]
            if length != 16:
                raise Refused("a session key of %d bytes" % length)
            key = ARC4.new(key).decrypt(token[offset : offset + length])
        self.key = key
        self.inspect(message, token, key)
        self.peer_sign = ntlm.SIGNKEY(self.flags, key)
        self.own_sign = ntlm.SIGNKEY(self.flags, key, "Server")
        self.peer_seal = ARC4.new(ntlm.SEALKEY(self.flags, key)).encrypt
        self.own_seal = ARC4.new(ntlm.SEALKEY(self.flags, key, "Server")).encrypt
        self.received = self.sent = 0
        self.is_complete = True

    def inspect(self, message, token, key):
        """What proves nothing but should be right."""
        for name, flag in WANTED.items():
            if not self.flags & flag:
                self.odd("NTLM: no NEGOTIATE_%s" % name)
        offered = struct.unpack_from("<L", self.messages[1], 20)[0]
        if self.flags & ~offered & ~ntlm.NTLMSSP_NEGOTIATE_VERSION:
            self.odd("NTLM: flags %#x that the challenge did not have" % (self.flags & ~offered))
        pairs = ntlm.AV_PAIRS(message["ntlm"][44:])
        if (pairs[ntlm.NTLMSSP_AV_TIME] or (0, b""))[1] != self.timestamp or message["ntlm"][24:32] != self.timestamp:
            self.odd("NTLM: not the timestamp of the challenge")
        if message["lanman"] != bytes(24):
            self.odd("NTLM: an LM response although the challenge has a timestamp")
        flags = pairs[ntlm.NTLMSSP_AV_FLAGS]
        if not flags or not struct.unpack("<L", flags[1])[0] & 2:
            return self.odd("NTLM: no MIC")
        bare = token[:MIC_OFFSET] + bytes(16) + token[MIC_OFFSET + 16 :]
        if ntlm.hmac_md5(key, b"".join(self.messages) + bare) != token[MIC_OFFSET : MIC_OFFSET + 16]:
            raise Refused("the MIC does not belong to these three messages")

    def open(self, header, body, trailer, signature):
        """The plain body of a PDU; the signature covers all of it, the header too."""
        if self.level == PRIVACY:
            body = self.peer_seal(body)
        expected = ntlm.MAC(self.flags, self.peer_seal, self.peer_sign, self.received, header + body + trailer)
        self.received += 1
        if expected.getData() != signature:
            found = struct.unpack_from("<L", signature, 12)[0]
            raise Refused("bad signature, sequence number %d where %d is due" % (found, self.received - 1))
        return body

    def protect(self, header, body, trailer, spoil=None):
        """The body as it goes out, and its signature; `spoil` gets one of them wrong."""
        number = self.sent + (7 if spoil == "sequence" else 0)
        signed = header + body + trailer
        sealed = self.own_seal(body) if self.level == PRIVACY else body
        signature = ntlm.MAC(self.flags, self.own_seal, self.own_sign, number, signed).getData()
        self.sent += 1
        if spoil == "signature":
            signature = signature[:5] + bytes([signature[5] ^ 1]) + signature[6:]
        if spoil == "body":
            sealed = sealed[:9] + bytes([sealed[9] ^ 1]) + sealed[10:]
        return sealed, signature
