"""Enumerates classes of a WinRM host with pywinrm.

Takes the same job and gives the same result as winsim_pypsrp.py; auth is ntlm or basic.
"""

import json
import sys
import uuid
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import winrm
from winsim_pypsrp import EVERYTHING, WQL, WSEN, WSMAN, instance

SOAP = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://schemas.xmlsoap.org/ws/2004/08/addressing"

ENVELOPE = """<?xml version="1.0" encoding="utf-8"?>
<env:Envelope xmlns:env="{soap}" xmlns:a="{wsa}" xmlns:w="{wsman}" xmlns:n="{wsen}">
  <env:Header>
    <a:To>http://windows-host:5985/wsman</a:To>
    <a:ReplyTo><a:Address mustUnderstand="true">{wsa}/role/anonymous</a:Address></a:ReplyTo>
    <w:MaxEnvelopeSize mustUnderstand="true">153600</w:MaxEnvelopeSize>
    <a:MessageID>{message}</a:MessageID>
    <w:OperationTimeout>PT20S</w:OperationTimeout>
    <w:ResourceURI mustUnderstand="true">{resource}</w:ResourceURI>
    <a:Action mustUnderstand="true">{wsen}/{action}</a:Action>
  </env:Header>
  <env:Body>{body}</env:Body>
</env:Envelope>"""


def send(protocol, action, body):
    message = f"uuid:{uuid.uuid4()}"
    envelope = ENVELOPE.format(
        soap=SOAP, wsa=WSA, wsman=WSMAN, wsen=WSEN, message=message, resource=EVERYTHING, action=action, body=body
    )
    root = ET.fromstring(protocol.send_message(envelope))
    relates_to = root.find(f"{{{SOAP}}}Header/{{{WSA}}}RelatesTo").text
    if relates_to != message:
        raise ValueError(f"the answer relates to {relates_to}, not to {message}")
    return root.find(f"{{{SOAP}}}Body/{{{WSEN}}}{action}Response")


def enumerate_all(protocol, query, maximum_elements):
    answer = send(
        protocol,
        "Enumerate",
        f"<n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>{maximum_elements}</w:MaxElements>"
        f'<w:Filter Dialect="{WQL}">{escape(query)}</w:Filter></n:Enumerate>',
    )
    instances = [instance(item) for item in answer.find(f"{{{WSMAN}}}Items")]
    ended = answer.find(f"{{{WSMAN}}}EndOfSequence") is not None
    context = answer.find(f"{{{WSEN}}}EnumerationContext").text
    requests = 1
    while not ended:
        answer = send(
            protocol,
            "Pull",
            f"<n:Pull><n:EnumerationContext>{context}</n:EnumerationContext>"
            f"<n:MaxElements>{maximum_elements}</n:MaxElements></n:Pull>",
        )
        instances += [instance(item) for item in answer.find(f"{{{WSEN}}}Items")]
        ended = answer.find(f"{{{WSEN}}}EndOfSequence") is not None
        requests += 1
    return instances, requests


def connect(job):
    scheme = "https" if job["ssl"] else "http"
    return winrm.Protocol(
        endpoint=f"{scheme}://{job['host']}:{job['port']}/wsman",
        transport=job["auth"],
        username=job["username"],
        password=job["password"],
        ca_trust_path=job.get("ca_file") or "legacy_requests",
        message_encryption=job.get("encryption", "auto"),
    )


def main():
    job = json.load(sys.stdin)
    protocol = connect(job)
    result, requests = {}, {}
    for name, query in job["queries"].items():
        result[name], requests[name] = enumerate_all(protocol, query, job["maximum_elements"])
    json.dump({"instances": result, "requests": requests}, sys.stdout)


if __name__ == "__main__":
    main()
