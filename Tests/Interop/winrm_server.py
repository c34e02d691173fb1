"""A WS-Management host made of third-party parts, for our client to sign in to.

pyspnego accepts the login and seals, pypsrp takes the multipart bodies apart and puts them together, the standard
library does HTTP, TLS and XML. Arguments: `http` or `https`, and the account as DOMAIN:user:password. It writes one
line: the port and, with https, the path of a file with its certificate. It ends when standard input ends, or after two
minutes.

Every enumeration answers one item, then two more by Pull; the class `Fault` answers with a sealed fault.
"""

import base64
import datetime
import hashlib
import http.server
import ipaddress
import os
import signal
import ssl
import sys
import tempfile
import threading
import xml.etree.ElementTree

import spnego
from pypsrp.encryption import WinRMEncryption
from spnego.channel_bindings import GssChannelBindings

TIME_LIMIT_SECONDS = 120

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
ENUMERATION = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
CONTENT_TYPE = "application/soap+xml;charset=UTF-8"
SEALED_TYPE = 'multipart/encrypted;protocol="%s";boundary="Encrypted Boundary"' % WinRMEncryption.SPNEGO

ENVELOPE = (
    '<s:Envelope xmlns:s="%s" xmlns:n="%s" xmlns:w="%s"><s:Header/><s:Body>%%s</s:Body></s:Envelope>'
    % (SOAP, ENUMERATION, WSMAN)
)
FIRST = (
    "<n:EnumerateResponse><n:EnumerationContext>uuid:1</n:EnumerationContext><w:Items>"
    "<w:XmlFragment><Name>ä&amp;b</Name></w:XmlFragment></w:Items></n:EnumerateResponse>"
)
LAST = (
    "<n:PullResponse><n:Items><w:XmlFragment><Name>two</Name></w:XmlFragment><w:XmlFragment><Name>%s</Name>"
    "</w:XmlFragment></n:Items><n:EndOfSequence/></n:PullResponse>" % ("x" * 20000)
)
FAULT = (
    "<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason><s:Text>no</s:Text></s:Reason><s:Detail>"
    '<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="5" Machine="py"/>'
    "</s:Detail></s:Fault>"
)


def answer(envelope):
    """Status and envelope for a request; a request that is not what it should be is an error."""
    root = xml.etree.ElementTree.fromstring(envelope)
    header, body = root.find("{%s}Header" % SOAP), root.find("{%s}Body" % SOAP)
    assert header.find("{%s}MessageID" % ADDRESSING).text.startswith("uuid:")
    assert header.find("{%s}ResourceURI" % WSMAN).text.endswith("/wmi/root/cimv2/*")
    action = header.find("{%s}Action" % ADDRESSING).text
    if action == ENUMERATION + "/Enumerate":
        query = body.find("{%s}Enumerate/{%s}Filter" % (ENUMERATION, WSMAN)).text
        if "Fault" in query:
            return 500, ENVELOPE % FAULT
        assert query == "SELECT Name FROM C WHERE Name <> 'ä&<>'", query
        return 200, ENVELOPE % FIRST
    assert action == ENUMERATION + "/Pull", action
    assert body.find("{%s}Pull/{%s}EnumerationContext" % (ENUMERATION, ENUMERATION)).text == "uuid:1"
    return 200, ENVELOPE % LAST


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bindings = None

    def setup(self):
        super().setup()
        self.context = None

    def log_message(self, *_):
        pass

    def reply(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, reason):
        print("refused: %s" % reason, file=sys.stderr, flush=True)
        self.close_connection = True
        self.reply(401, [("WWW-Authenticate", "Negotiate"), ("Connection", "close")])

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        authorization = self.headers.get("Authorization", "")
        try:
            if authorization.startswith("Negotiate "):
                assert body == b"", "a body in the middle of a login"
                return self.sign_in(base64.b64decode(authorization.split(" ", 1)[1]))
            if self.context is None or not self.context.complete:
                return self.refuse("not signed in")
            return self.serve(body)
        except Exception as error:  # any failure is a refusal
            return self.refuse("%s: %s" % (type(error).__name__, error))

    def sign_in(self, token):
        if self.context is None or self.context.complete:
            self.context = spnego.server(
                hostname="server",
                service="HTTP",
                protocol="ntlm",
                options=spnego.NegotiateOptions.use_ntlm,
                channel_bindings=self.bindings,
            )
        out = self.context.step(token)
        if self.context.complete:
            return self.reply(200)
        return self.reply(401, [("WWW-Authenticate", "Negotiate " + base64.b64encode(out).decode())])

    def serve(self, body):
        if self.bindings:
            status, envelope = answer(body)
            return self.reply(status, [("Content-Type", CONTENT_TYPE)], envelope.encode())
        assert self.headers["Content-Type"] == SEALED_TYPE, self.headers["Content-Type"]
        sealing = WinRMEncryption(self.context, WinRMEncryption.SPNEGO)
        status, envelope = answer(sealing.unwrap_message(body, "Encrypted Boundary"))
        _, sealed = sealing.wrap_message(envelope.encode())
        return self.reply(status, [("Content-Type", SEALED_TYPE)], sealed)


def certificate(folder):
    """A self-signed certificate for 127.0.0.1: the path of the PEM file with its key, and its SHA-256."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "py")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    public = os.path.join(folder, "certificate.pem")
    private = os.path.join(folder, "key.pem")
    with open(public, "wb") as file:
        file.write(made.public_bytes(serialization.Encoding.PEM))
    with open(private, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return public, private, hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).digest()


def main():
    signal.alarm(TIME_LIMIT_SECONDS)
    scheme, account = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder:
        users = os.path.join(folder, "users")
        with open(users, "w", encoding="utf-8") as file:
            file.write(account + "\n")
        os.environ["NTLM_USER_FILE"] = users
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        public = ""
        if scheme == "https":
            public, private, digest = certificate(folder)
            Handler.bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(public, private)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_address[1], public, flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    main()
