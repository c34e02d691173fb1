"""Enumerates classes of a WinRM host with pypsrp.

Reads a job in JSON from standard input: host, port, ssl, auth (ntlm, negotiate or basic), username, password, ca_file,
queries (name -> WQL), maximum_elements. Writes JSON: {name: [{property: text or null, or a list of these}]}.
"""

import json
import sys
import warnings
import xml.etree.ElementTree as ET

from pypsrp.wsman import WSMan

WSEN = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
WQL = "http://schemas.microsoft.com/wbem/wsman/1/WQL"
EVERYTHING = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/cimv2/*"


def local(tag):
    return tag.rsplit("}", 1)[-1]


def value(element):
    if element.get(f"{{{XSI}}}nil") == "true":
        return None
    return "".join(element.itertext())


def instance(item):
    found = {}
    for element in item:
        name, text = local(element.tag), value(element)
        if name in found:
            found[name] = (found[name] if isinstance(found[name], list) else [found[name]]) + [text]
        else:
            found[name] = text
    return found


def enumerate_all(client, query, maximum_elements):
    request = ET.Element(f"{{{WSEN}}}Enumerate")
    ET.SubElement(request, f"{{{WSMAN}}}OptimizeEnumeration")
    ET.SubElement(request, f"{{{WSMAN}}}MaxElements").text = str(maximum_elements)
    ET.SubElement(request, f"{{{WSMAN}}}Filter", Dialect=WQL).text = query
    body = client.enumerate(EVERYTHING, request)
    answer = body.find(f"{{{WSEN}}}EnumerateResponse")
    items = answer.find(f"{{{WSMAN}}}Items")
    instances = [instance(item) for item in items]
    ended = answer.find(f"{{{WSMAN}}}EndOfSequence") is not None
    context = answer.find(f"{{{WSEN}}}EnumerationContext").text
    requests = 1
    while not ended:
        request = ET.Element(f"{{{WSEN}}}Pull")
        ET.SubElement(request, f"{{{WSEN}}}EnumerationContext").text = context
        ET.SubElement(request, f"{{{WSEN}}}MaxElements").text = str(maximum_elements)
        answer = client.pull(EVERYTHING, request).find(f"{{{WSEN}}}PullResponse")
        instances += [instance(item) for item in answer.find(f"{{{WSEN}}}Items")]
        ended = answer.find(f"{{{WSEN}}}EndOfSequence") is not None
        found = answer.find(f"{{{WSEN}}}EnumerationContext")
        context = found.text if found is not None else context
        requests += 1
    return instances, requests


def connect(job):
    return WSMan(
        job["host"],
        port=job["port"],
        ssl=job["ssl"],
        auth=job["auth"],
        username=job["username"],
        password=job["password"],
        cert_validation=job["ca_file"] if job["ssl"] else False,
        encryption=job.get("encryption", "auto"),
    )


def main():
    # A warning would be a certificate that the channel binding could not be made from.
    warnings.simplefilter("error", category=UserWarning)
    job = json.load(sys.stdin)
    client = connect(job)
    result, requests = {}, {}
    for name, query in job["queries"].items():
        result[name], requests[name] = enumerate_all(client, query, job["maximum_elements"])
    json.dump({"instances": result, "requests": requests}, sys.stdout)


if __name__ == "__main__":
    main()
