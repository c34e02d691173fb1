#!/usr/bin/env python3
"""Makes stubs.txt: requests and answers of object RPC as impacket 0.13.1 and aiowmi 1.1.3 marshal them.

With --check FILE it reads stubs that our encoders made (ours.txt, written by the tests) with both clients instead.
"""

import random
import struct
import sys
from uuid import UUID

from impacket.dcerpc.v5 import dcomrt
from impacket.dcerpc.v5.dcom import wmi
from impacket.dcerpc.v5.dtypes import NULL
from impacket.uuid import string_to_bin

from aiowmi import dcom_const as aio
from aiowmi.dtypes.wordstr import WORDSTR
from aiowmi.ndr.orpcthis import ORPCTHIS as AioOrpcThis
from aiowmi.ndr.get_smart_enum_response import GetSmartEnumResponse
from aiowmi.ndr.ntlm_login_response import NTLMLoginResponse
from aiowmi.ndr.orpcthat import ORPCTHAT as AioOrpcThat
from aiowmi.ndr.query_response import QueryResponse
from aiowmi.ndr.rem_query_interface_response import RemQueryInterfaceResponse
from aiowmi.ndr.remote_create_instance import RemoteCreateInstance as AioRemoteCreateInstance
from aiowmi.ndr.remote_create_instance_response import RemoteCreateInstanceResponse as AioActivated
from aiowmi.ntlm.login import NTLMLogin as AioNTLMLogin

CAUSALITY = "01234567-89ab-cdef-0123-456789abcdef"
IPID = "00008c01-0b94-0000-a5a5-5a5a00112233"
REM_UNKNOWN = "00000001-0b94-0000-a5a5-5a5a44556677"
OXID, OID = 0x1122334455667788, 0x99AABBCCDDEEFF00


def orpc_this(flags=0):
    this = dcomrt.ORPCTHIS()
    this["cid"] = string_to_bin(CAUSALITY)
    this["extensions"] = NULL
    this["flags"] = flags
    return this


def whole(structure):
    return structure.getData()


class Recorder:
    """Stands in for impacket's connection: keeps what would be sent."""

    def __init__(self):
        self.sent = None

    def bind(self, _):
        pass

    def connect(self):
        pass

    def request(self, request, *_):
        self.sent = whole(request)
        raise EOFError


def recorded(body):
    recorder = Recorder()
    try:
        body(recorder)
    except EOFError:
        pass
    return recorder.sent


def string_array(bindings, security):
    words = []
    for tower, address in bindings:
        words += [tower] + list(struct.unpack("<%dH" % len(address), address.encode("utf-16le"))) + [0]
    words.append(0)
    offset = len(words)
    for service in security:
        words += [service, 0xFFFF, 0]
    words.append(0)
    return words, offset


def standard(iid, words=(), offset=0):
    reference = dcomrt.OBJREF_STANDARD()
    reference["iid"] = iid
    reference["std"]["flags"] = 0
    reference["std"]["cPublicRefs"] = 5
    reference["std"]["oxid"] = OXID
    reference["std"]["oid"] = OID
    reference["std"]["ipid"] = string_to_bin(IPID)
    reference["saResAddr"] = struct.pack("<HH%dH" % len(words), len(words), offset, *words)
    return reference.getData()


def interface_answer(response, member, reference):
    response["ORPCthat"]["flags"] = 0
    response["ORPCthat"]["extensions"] = NULL
    response[member]["ulCntData"] = len(reference)
    response[member]["abData"] = list(reference)
    response["ErrorCode"] = 0
    return whole(response)


def activation_answer():
    words, offset = string_array(
        [(0x0F, "\\\\HOST[\\PIPE\\atsvc]"), (7, "HOST[49154]"), (7, "192.0.2.17[49154]")], [9, 10])
    scm = dcomrt.ScmReplyInfoData()
    scm["pdwReserved"] = 0
    scm["remoteReply"]["Oxid"] = OXID
    scm["remoteReply"]["pdsaOxidBindings"]["wNumEntries"] = len(words)
    scm["remoteReply"]["pdsaOxidBindings"]["wSecurityOffset"] = offset
    scm["remoteReply"]["pdsaOxidBindings"]["aStringArray"] = words
    scm["remoteReply"]["ipidRemUnknown"] = string_to_bin(REM_UNKNOWN)
    scm["remoteReply"]["authnHint"] = 4
    scm["remoteReply"]["serverVersion"]["MajorVersion"] = 5
    scm["remoteReply"]["serverVersion"]["MinorVersion"] = 7
    props = dcomrt.PropsOutInfo()
    props["cIfs"] = 1
    iid = dcomrt.IID()
    iid["Data"] = wmi.IID_IWbemLevel1Login[:16]
    props["piid"].append(iid)
    result = dcomrt.HRESULT()
    result["Data"] = 0
    props["phresults"].append(result)
    pointer = dcomrt.PMInterfacePointer()
    reference = standard(wmi.IID_IWbemLevel1Login[:16])
    pointer["ulCntData"] = len(reference)
    pointer["abData"] = list(reference)
    props["ppIntfData"].append(pointer)

    blob = dcomrt.ACTIVATION_BLOB()
    blob["CustomHeader"]["destCtx"] = 2
    blob["CustomHeader"]["pdwReserved"] = NULL
    properties = b""
    for clsid, structure in ((dcomrt.CLSID_PropsOutInfo, props), (dcomrt.CLSID_ScmReplyInfo, scm)):
        entry = dcomrt.CLSID()
        entry["Data"] = clsid
        blob["CustomHeader"]["pclsid"].append(entry)
        marshaled = structure.getData() + structure.getDataReferents()
        marshaled += b"\xfa" * (-len(marshaled) % 8)
        size = dcomrt.DWORD()
        size["Data"] = len(marshaled)
        blob["CustomHeader"]["pSizes"].append(size)
        properties += marshaled
    blob["Property"] = properties
    reference = dcomrt.OBJREF_CUSTOM()
    reference["iid"] = dcomrt.IID_IActivationPropertiesOut[:16]
    reference["clsid"] = dcomrt.CLSID_ActivationPropertiesOut
    reference["cbExtension"] = 0
    reference["pObjectData"] = blob.getData()
    reference["ObjectReferenceSize"] = len(reference["pObjectData"]) + 8
    return interface_answer(dcomrt.RemoteCreateInstanceResponse(), "ppActProperties", reference.getData())


def server_alive():
    words, offset = string_array([(7, "HOST"), (7, "192.0.2.17")], [9, 10])
    response = dcomrt.ServerAlive2Response()
    response["ppdsaOrBindings"]["wNumEntries"] = len(words)
    response["ppdsaOrBindings"]["wSecurityOffset"] = offset
    response["ppdsaOrBindings"]["aStringArray"] = words
    response["pReserved"] = NULL
    response["ErrorCode"] = 0
    return whole(response)


def rem_query_interface():
    request = dcomrt.RemQueryInterface()
    request["ORPCthis"] = orpc_this()
    request["ripid"] = string_to_bin(IPID)
    request["cRefs"] = 1
    request["cIids"] = 1
    iid = dcomrt.IID()
    iid["Data"] = wmi.IID_IWbemFetchSmartEnum[:16]
    request["iids"].append(iid)
    return whole(request)


def references(request):
    request["ORPCthis"] = orpc_this()
    request["cInterfaceRefs"] = 2
    for ipid in (IPID, REM_UNKNOWN):
        element = dcomrt.REMINTERFACEREF()
        element["ipid"] = string_to_bin(ipid)
        element["cPublicRefs"] = 5
        element["cPrivateRefs"] = 0
        request["InterfaceRefs"].append(element)
    return whole(request)


def ntlm_login():
    request = wmi.IWbemLevel1Login_NTLMLogin()
    request["ORPCthis"] = orpc_this()
    request["wszNetworkResource"] = "//./root/cimv2\x00"
    request["wszPreferredLocale"] = NULL
    request["lFlags"] = 0
    request["pCtx"] = NULL
    return whole(request)


QUERY = "SELECT Name FROM Win32_LogicalDisk WHERE DriveType=3"


def exec_query():
    request = wmi.IWbemServices_ExecQuery()
    request["ORPCthis"] = orpc_this()
    request["strQueryLanguage"]["asData"] = "WQL"
    request["strQuery"]["asData"] = QUERY
    request["lFlags"] = 0x30
    request["pCtx"] = NULL
    return whole(request)


def enum_next():
    request = wmi.IEnumWbemClassObject_Next()
    request["ORPCthis"] = orpc_this()
    request["lTimeout"] = 0xFFFFFFFF
    request["uCount"] = 7
    return whole(request)


def enum_next_answer():
    response = wmi.IEnumWbemClassObject_NextResponse()
    response["ORPCthat"]["flags"] = 0
    response["ORPCthat"]["extensions"] = NULL
    for data in (b"first\x00\x00", b"second"):
        reference = dcomrt.OBJREF_CUSTOM()
        reference["iid"] = wmi.IID_IWbemClassObject[:16]
        reference["clsid"] = wmi.CLSID_WbemClassObject
        reference["cbExtension"] = 0
        reference["ObjectReferenceSize"] = len(data)
        reference["pObjectData"] = data
        pointer = dcomrt.PMInterfacePointer()
        pointer["ulCntData"] = len(reference.getData())
        pointer["abData"] = list(reference.getData())
        response["apObjects"].append(pointer)
    response["puReturned"] = 2
    response["ErrorCode"] = 1
    return whole(response)


def ping_answer():
    response = dcomrt.ComplexPingResponse()
    response["pSetId"] = 0x0102030405060708
    response["pPingBackoffFactor"] = 3
    response["ErrorCode"] = 0
    return whole(response)


def rem_query_interface_answer(aligned=True):
    # impacket's own structure lacks the count of the array; these are the bytes that aiowmi reads from Windows.
    element = struct.pack("<LLLLQQ", 0, 0, 0, 1, OXID, OID) + string_to_bin(IPID)
    return struct.pack("<LLLL", 0, 0, 0x20000, 1) + element + struct.pack("<L", 0)


def aiowmi_requests():
    yield "aiowmi.RemoteCreateInstance", AioRemoteCreateInstance(
        aio.CLSID_IWbemLevel1Login, aio.IID_IWbemLevel1Login[:16]).get_data()
    yield "aiowmi.NTLMLogin", AioNTLMLogin("//./root/cimv2").get_data()
    yield "aiowmi.ExecQuery", (
        AioOrpcThis.get_data() + WORDSTR("WQL").get_data() + WORDSTR(QUERY).get_data() + struct.pack("<LL", 0x30, 0))
    yield "aiowmi.RemRelease", (
        AioOrpcThis.get_data(flags=0) + b"\x01\x00\xce\xce\x01\x00\x00\x00" + string_to_bin(IPID)
        + struct.pack("<LL", 1, 0))
    yield "aiowmi.RemQueryInterface", (
        AioOrpcThis.get_data(flags=0) + string_to_bin(IPID) + struct.pack("<LH", 1, 1) + b"\xce\xce"
        + struct.pack("<L", 1) + aio.IID_IWbemFetchSmartEnum_bin[:16])
    yield "aiowmi.GetSmartEnum", AioOrpcThis.get_data(flags=0) + string_to_bin(IPID)
    yield "aiowmi.SmartNext", (
        AioOrpcThis.get_data(flags=0) + string_to_bin(CAUSALITY) + struct.pack("<LL", 0xFFFFFFFF, 1))


def stubs():
    activator = dcomrt.IRemoteSCMActivator
    exporter = dcomrt.IObjectExporter
    yield "impacket.RemoteCreateInstance", recorded(
        lambda dce: activator(dce).RemoteCreateInstance(wmi.CLSID_WbemLevel1Login, wmi.IID_IWbemLevel1Login[:16]))
    yield "impacket.RemoteCreateInstance.answer", activation_answer()
    yield "impacket.SimplePing", recorded(lambda dce: exporter(dce).SimplePing(0x0102030405060708))
    yield "impacket.ComplexPing", recorded(lambda dce: exporter(dce).ComplexPing(0, 1, [OID, OID + 1], []))
    yield "impacket.ComplexPing.answer", ping_answer()
    yield "impacket.ServerAlive2.answer", server_alive()
    yield "impacket.RemQueryInterface", rem_query_interface()
    yield "impacket.RemAddRef", references(dcomrt.RemAddRef())
    yield "impacket.RemRelease", references(dcomrt.RemRelease())
    yield "impacket.NTLMLogin", ntlm_login()
    yield "impacket.ExecQuery", exec_query()
    yield "impacket.interface.answer", interface_answer(
        wmi.IWbemServices_ExecQueryResponse(), "ppEnum", standard(
            wmi.IID_IEnumWbemClassObject[:16], *string_array([(7, "HOST")], [10])))
    yield "impacket.Next", enum_next()
    yield "impacket.Next.answer", enum_next_answer()
    yield "layout.RemQueryInterface.answer", rem_query_interface_answer()
    yield from aiowmi_requests()


# MARK: reading ours


def text(ipid):
    return str(UUID(bytes_le=bytes(ipid))).lower()


def expect(name, found, wanted):
    if found != wanted:
        sys.exit("%s: read %r, wanted %r" % (name, found, wanted))
    print("ok", name)


def check(path):
    ours = {}
    for line in open(path):
        name, _, digits = line.strip().partition(" ")
        ours[name] = bytes.fromhex(digits)

    # As Windows' side would read them: impacket's structures of requests.
    request = dcomrt.RemoteCreateInstance(ours["RemoteCreateInstance"])
    reference = dcomrt.OBJREF_CUSTOM(b"".join(request["pActProperties"]["abData"]))
    expect("activation class", reference["clsid"], dcomrt.CLSID_ActivationPropertiesIn)
    blob = dcomrt.ACTIVATION_BLOB(reference["pObjectData"])
    expect("activation properties", [entry["Data"] for entry in blob["CustomHeader"]["pclsid"]], [
        dcomrt.CLSID_InstantiationInfo, dcomrt.CLSID_ActivationContextInfo, dcomrt.CLSID_ServerLocationInfo,
        dcomrt.CLSID_ScmRequestInfo])
    sizes = [entry["Data"] for entry in blob["CustomHeader"]["pSizes"]]
    expect("sizes", sum(sizes), len(blob["Property"]))
    info = dcomrt.InstantiationInfoData()
    size = info.fromString(blob["Property"][:sizes[0]])
    info.fromStringReferents(blob["Property"][size:sizes[0]])
    expect("class", info["classId"], wmi.CLSID_WbemLevel1Login)
    expect("interface", [entry["Data"] for entry in info["pIID"]], [wmi.IID_IWbemLevel1Login[:16]])
    expect("size of itself", info["thisSize"], sizes[0])
    last = blob["Property"][-sizes[3]:]
    scm = dcomrt.ScmRequestInfoData()
    size = scm.fromString(last)
    scm.fromStringReferents(last[size:])
    expect("protocols", list(scm["remoteRequest"]["pRequestedProtseqs"]), [7])

    login = wmi.IWbemLevel1Login_NTLMLogin(ours["NTLMLogin"])
    expect("namespace", login["wszNetworkResource"], "//./root/cimv2\x00")
    query = wmi.IWbemServices_ExecQuery(ours["ExecQuery"])
    expect("language", query["strQueryLanguage"]["asData"], "WQL")
    expect("query", query["strQuery"]["asData"], QUERY)
    expect("flags", query["lFlags"], 0x30)
    following = wmi.IEnumWbemClassObject_Next(ours["EnumNext"])
    expect("count", following["uCount"], 7)
    release = dcomrt.RemRelease(ours["RemRelease"])
    expect("released", [(text(each["ipid"]), each["cPublicRefs"]) for each in release["InterfaceRefs"]], [
        (IPID, 5), (REM_UNKNOWN, 5)])
    ping = dcomrt.ComplexPing(ours["ComplexPing"])
    expect("pinged", [each["Data"] for each in ping["AddToSet"]], [OID, OID + 1])
    expect("sequence", ping["SequenceNum"], 1)
    expect("set", dcomrt.SimplePing(ours["SimplePing"])["pSetId"], 0x0102030405060708)
    queried = dcomrt.RemQueryInterface(ours["RemQueryInterface"])
    expect("queried", queried["iids"][0]["Data"], wmi.IID_IWbemFetchSmartEnum[:16])

    # Answers, as the two clients read them.
    activated = AioActivated("192.0.2.17", ours["RemoteCreateInstance.answer"])
    expect("aiowmi activation", (text_of(activated.get_ipid()), activated.get_binding()), (IPID, ("192.0.2.17", 49154)))
    answer = dcomrt.RemoteCreateInstanceResponse(ours["RemoteCreateInstance.answer"])
    expect("impacket activation", answer["ErrorCode"], 0)
    expect("aiowmi login", text_of(NTLMLoginResponse(ours["interface.answer"]).get_ipid()), IPID)
    expect("aiowmi query", text_of(QueryResponse(ours["interface.answer"]).get_ipid()), IPID)
    expect("aiowmi smart", text_of(GetSmartEnumResponse(ours["interface.answer"]).get_ipid()), IPID)
    expect("aiowmi queried", text_of(RemQueryInterfaceResponse(ours["RemQueryInterface.answer"]).get_ipid()), IPID)
    objects = wmi.IEnumWbemClassObject_NextResponse(ours["EnumNext.answer"])
    expect("objects", [dcomrt.OBJREF_CUSTOM(b"".join(each["abData"]))["pObjectData"] for each in objects["apObjects"]],
           [b"first\x00\x00", b"second"])
    expect("end", objects["ErrorCode"], 1)
    alive = dcomrt.ServerAlive2Response(ours["ServerAlive2.answer"])
    expect("alive", (alive["ErrorCode"], alive["ppdsaOrBindings"]["wSecurityOffset"] > 0), (0, True))
    expect("that", AioOrpcThat.from_data(ours["interface.answer"])[1], 8)


def text_of(ipid):
    return ipid.lower() if isinstance(ipid, str) else text(ipid)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--check"]:
        check(sys.argv[2])
    else:
        random.seed(1)
        for name, stub in stubs():
            print(name, bytes(stub).hex())
