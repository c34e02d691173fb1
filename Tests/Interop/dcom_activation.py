"""Activation in the server: takes RemoteCreateInstance apart and answers it, with impacket's structures."""

import struct
import uuid

from impacket.dcerpc.v5 import dcomrt
from impacket.dcerpc.v5.dcom import wmi
from impacket.dcerpc.v5.dtypes import NULL

PUBLIC_REFERENCES = 5
TCP, NAMED_PIPE = 7, 15
CLASS_NOT_REGISTERED = 0x80040154


def text_of(binary):
    return str(uuid.UUID(bytes_le=bytes(binary[:16])))


def signed(status):
    """impacket's HRESULT is a signed number, and makes 0 of what does not fit."""
    return status - (1 << 32) if status >= 1 << 31 else status


WBEM_LEVEL1_LOGIN = text_of(wmi.CLSID_WbemLevel1Login)
NAMES = {
    dcomrt.CLSID_InstantiationInfo: dcomrt.InstantiationInfoData,
    dcomrt.CLSID_ActivationContextInfo: dcomrt.ActivationContextInfoData,
    dcomrt.CLSID_ServerLocationInfo: dcomrt.LocationInfoData,
    dcomrt.CLSID_ScmRequestInfo: dcomrt.ScmRequestInfoData,
    dcomrt.CLSID_SpecialSystemProperties: dcomrt.SpecialPropertiesData,
    dcomrt.CLSID_SecurityInfo: dcomrt.SecurityInfoData,
    dcomrt.CLSID_InstanceInfo: dcomrt.InstanceInfoData,
}
NEEDED = ("InstantiationInfoData", "ActivationContextInfoData", "LocationInfoData", "ScmRequestInfoData")


def parsed(kind, data):
    """A structure of type serialization version 1, with its referents."""
    made = kind()
    size = made.fromString(data)
    made.fromStringReferents(data[size:])
    return made


def properties_in(interface_pointer, odd):
    """The activation properties by the names of impacket's structures, and what the client says with them."""
    blob = b"".join(interface_pointer["abData"])
    if interface_pointer["ulCntData"] != len(blob):
        odd("activation: ulCntData %d for %d bytes" % (interface_pointer["ulCntData"], len(blob)))
    reference = dcomrt.OBJREF_CUSTOM(blob)
    expected = (0x574F454D, 4, dcomrt.IID_IActivationPropertiesIn[:16], dcomrt.CLSID_ActivationPropertiesIn, 0)
    found = tuple(reference[name] for name in ("signature", "flags", "iid", "clsid", "cbExtension"))
    if found != expected:
        odd("activation: the OBJREF has %r" % (found,))
    data = reference["pObjectData"]
    if reference["ObjectReferenceSize"] not in (len(data), len(data) + 8):
        odd("activation: object reference of %d bytes says %d" % (len(data), reference["ObjectReferenceSize"]))
    activation = dcomrt.ACTIVATION_BLOB(data)
    header = activation["CustomHeader"]
    sizes = [each["Data"] for each in header["pSizes"]]
    classes = [bytes(each["Data"]) for each in header["pclsid"]]
    common = header["CommonHeader"]
    if (common["Version"], common["Endianness"], common["CommonHeaderLength"]) != (1, 0x10, 8):
        odd("activation: type serialization header")
    if activation["dwSize"] != len(data) - 8 or header["totalSize"] != len(data) - 8:
        odd("activation: sizes %d and %d of %d" % (activation["dwSize"], header["totalSize"], len(data) - 8))
    if header["headerSize"] + sum(sizes) != header["totalSize"]:
        odd("activation: header of %d and properties of %r in %d" % (header["headerSize"], sizes, header["totalSize"]))
    if header["destCtx"] != 2 or not header["cIfs"] == len(classes) == len(sizes):
        odd("activation: destCtx %d, %d properties" % (header["destCtx"], header["cIfs"]))
    at = 8 + header["headerSize"]
    found = {}
    for class_id, size in zip(classes, sizes):
        kind = NAMES.get(class_id)
        if kind is None:
            odd("activation: unknown property %s" % text_of(class_id))
        else:
            if size % 8:
                odd("activation: %s of %d bytes" % (kind.__name__, size))
            found[kind.__name__] = parsed(kind, data[at : at + size])
        at += size
    for name in NEEDED:
        if name not in found:
            odd("activation: no %s" % name)
    return found


def describe(found, odd):
    """What the client asks for, for the summary, and a look at the fields that Windows looks at."""
    instantiation, scm = found["InstantiationInfoData"], found["ScmRequestInfoData"]
    interfaces = [text_of(each["Data"]) for each in instantiation["pIID"]]
    if instantiation["cIID"] != len(interfaces):
        odd("activation: cIID %d for %d" % (instantiation["cIID"], len(interfaces)))
    version = instantiation["clientCOMVersion"]
    if version["MajorVersion"] not in (0, 5):
        odd("activation: COM version %d" % version["MajorVersion"])
    request = scm["remoteRequest"]
    protocols = list(request["pRequestedProtseqs"])
    if request["cRequestedProtseqs"] != len(protocols) or TCP not in protocols:
        odd("activation: protocol sequences %r" % protocols)
    context = found.get("ActivationContextInfoData")
    location = found.get("LocationInfoData")
    return {
        "properties": list(found),
        "class_id": text_of(instantiation["classId"]),
        "interface_ids": interfaces,
        "class_context": instantiation["classCtx"],
        "impersonation_level": request["ClientImpLevel"],
        "protocol_sequences": protocols,
        "client_context": bool(context) and context["pIFDClientCtx"] != b"",
        "machine_name": str(location["machineName"]) if location and location["machineName"] != b"" else None,
    }


def dual_strings(entries, with_security=True):
    """Units of a DUALSTRINGARRAY, and the offset of its security bindings; entries are (tower, address)."""
    data = b""
    for tower, address in entries:
        data += struct.pack("<H", tower) + (address + "\0").encode("utf-16le")
    data += b"\0\0"
    offset = len(data) // 2
    if with_security:
        for service in (9, 10):
            data += struct.pack("<HH", service, 0xFFFF) + b"\0\0"
    data += b"\0\0"
    return [unit for (unit,) in struct.iter_unpack("<H", data)], offset


def fill(array, entries):
    units, offset = dual_strings(entries)
    array["wNumEntries"], array["wSecurityOffset"], array["aStringArray"] = len(units), offset, units


def object_reference(interface_id, stub, bindings, flags=0):
    """A standard OBJREF; its own bindings carry no port, as Windows sends them."""
    made = dcomrt.OBJREF_STANDARD()
    made["iid"] = uuid.UUID(interface_id).bytes_le
    made["std"]["flags"] = flags
    made["std"]["cPublicRefs"] = PUBLIC_REFERENCES
    made["std"]["oxid"], made["std"]["oid"] = stub.oxid, stub.oid
    made["std"]["ipid"] = uuid.UUID(stub.ipid).bytes_le
    units, offset = dual_strings(bindings)
    made["saResAddr"] = struct.pack("<HH", len(units), offset) + b"".join(struct.pack("<H", unit) for unit in units)
    return made.getData()


def padded(made):
    data = made.getData() + made.getDataReferents()
    return data + b"\0" * (-len(data) % 8)


def answer(results, exporter, hint):
    """RemoteCreateInstance's answer; results are (interface id, HRESULT, OBJREF or None)."""
    out = dcomrt.PropsOutInfo()
    out["cIfs"] = len(results)
    for interface_id, status, reference in results:
        iid = dcomrt.IID()
        iid["Data"] = uuid.UUID(interface_id).bytes_le
        out["piid"].append(iid)
        code = dcomrt.HRESULT()
        code["Data"] = signed(status)
        out["phresults"].append(code)
        pointer = dcomrt.PMInterfacePointer()
        if reference is None:
            pointer.fields["ReferentID"] = 0
        else:
            pointer["ulCntData"], pointer["abData"] = len(reference), list(reference)
        out["ppIntfData"].append(pointer)
    scm = dcomrt.ScmReplyInfoData()
    reply = scm["remoteReply"]
    reply["Oxid"], reply["authnHint"] = exporter.oxid, hint
    fill(reply["pdsaOxidBindings"], exporter.bindings)
    reply["ipidRemUnknown"] = uuid.UUID(exporter.rem_unknown).bytes_le

    blob = dcomrt.ACTIVATION_BLOB()
    header = blob["CustomHeader"]
    header["destCtx"], header["pdwReserved"] = 2, NULL
    properties = b""
    for class_id, made in ((dcomrt.CLSID_PropsOutInfo, out), (dcomrt.CLSID_ScmReplyInfo, scm)):
        data = padded(made)
        entry, size = dcomrt.CLSID(), dcomrt.DWORD()
        entry["Data"], size["Data"] = class_id, len(data)
        header["pclsid"].append(entry)
        header["pSizes"].append(size)
        properties += data
    blob["Property"] = properties
    reference = dcomrt.OBJREF_CUSTOM()
    reference["iid"] = dcomrt.IID_IActivationPropertiesOut[:16]
    reference["clsid"] = dcomrt.CLSID_ActivationPropertiesOut
    reference["cbExtension"] = 0
    reference["pObjectData"] = blob.getData()
    reference["ObjectReferenceSize"] = len(reference["pObjectData"]) + 8
    return reference.getData()
