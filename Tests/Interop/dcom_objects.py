"""The objects of the server: object exporter, IRemUnknown2, WMI's login, namespace and enumerators.

Requests are taken apart with impacket's classes. `Exporter.call` finds the method by the object's interface, as
Windows does, and says so when the presentation context was bound to another one.
"""

import secrets
import uuid

import dcom_activation as activation
from dcom_activation import PUBLIC_REFERENCES, text_of
from dcom_ntlm import INTEGRITY
from dcom_rpc import OPERATION_RANGE, Fault, Silent
from dcom_wmio import object_array
from impacket.dcerpc.v5 import dcomrt, dtypes, ndr
from impacket.dcerpc.v5.dcom import wmi

S_FALSE = 1
E_NOINTERFACE, E_INVALIDARG = 0x80004002, 0x80070057
DISCONNECTED = 0x80010108
INVALID_NAMESPACE, INVALID_CLASS, INVALID_QUERY = 0x8004100E, 0x80041010, 0x80041017
INVALID_QUERY_TYPE = 0x80041018
INVALID_OBJECT = 0x57


class ProxyNext(dcomrt.DCOMCALL):
    """IWbemWCOSmartEnum::Next: the GUID is a reference, which has no referent id (impacket's class has one)."""

    opnum = 3
    structure = (("proxyGUID", dtypes.GUID), ("lTimeout", dtypes.LONG), ("uCount", dtypes.ULONG))


class PBytes(ndr.NDRPOINTER):
    referent = (("Data", dcomrt.BYTE_ARRAY),)


class ProxyNextResponse(dcomrt.DCOMANSWER):
    structure = (
        ("puReturned", dtypes.ULONG),
        ("pdwBuffSize", dtypes.ULONG),
        ("pBuffer", PBytes),
        ("ErrorCode", dtypes.ULONG),
    )


class Results(ndr.NDRUniConformantArray):
    item = dcomrt.REMQIRESULT


class PResults(ndr.NDRPOINTER):
    referent = (("Data", Results),)


class QueryInterfaceResponse(dcomrt.DCOMANSWER):
    """impacket's class takes the count before the results for padding."""

    structure = (("ppQIResults", PResults), ("ErrorCode", dtypes.ULONG))


IOBJECT_EXPORTER = text_of(dcomrt.IID_IObjectExporter)
ACTIVATOR = text_of(dcomrt.IID_IRemoteSCMActivator)
REM_UNKNOWN, REM_UNKNOWN2 = text_of(dcomrt.IID_IRemUnknown), text_of(dcomrt.IID_IRemUnknown2)
LOGIN, SERVICES = text_of(wmi.IID_IWbemLevel1Login), text_of(wmi.IID_IWbemServices)
ENUMERATOR = text_of(wmi.IID_IEnumWbemClassObject)
FETCH_SMART, SMART = text_of(wmi.IID_IWbemFetchSmartEnum), text_of(wmi.IID_IWbemWCOSmartEnum)
OBJECT_INTERFACES = (REM_UNKNOWN, REM_UNKNOWN2, LOGIN, SERVICES, ENUMERATOR, FETCH_SMART, SMART)
MAPPER_INTERFACES = (IOBJECT_EXPORTER, ACTIVATOR)

METHODS = {
    (IOBJECT_EXPORTER, 1): ("SimplePing", dcomrt.SimplePing),
    (IOBJECT_EXPORTER, 2): ("ComplexPing", dcomrt.ComplexPing),
    (IOBJECT_EXPORTER, 5): ("ServerAlive2", dcomrt.ServerAlive2),
    (ACTIVATOR, 4): ("RemoteCreateInstance", dcomrt.RemoteCreateInstance),
    (REM_UNKNOWN, 3): ("RemQueryInterface", dcomrt.RemQueryInterface),
    (REM_UNKNOWN, 4): ("RemAddRef", dcomrt.RemAddRef),
    (REM_UNKNOWN, 5): ("RemRelease", dcomrt.RemRelease),
    (LOGIN, 6): ("NTLMLogin", wmi.IWbemLevel1Login_NTLMLogin),
    (SERVICES, 20): ("ExecQuery", wmi.IWbemServices_ExecQuery),
    (ENUMERATOR, 4): ("Next", wmi.IEnumWbemClassObject_Next),
    (FETCH_SMART, 3): ("GetSmartEnum", wmi.IWbemFetchSmartEnum_GetSmartEnum),
    (SMART, 3): ("SmartNext", ProxyNext),
}


class Stub:
    """An interface of an object, with the references that clients hold."""

    def __init__(self, exporter, interface, **what):
        self.interface, self.oxid = interface, exporter.oxid
        self.oid = secrets.randbits(63)
        self.ipid = str(uuid.uuid4())
        self.references = 0
        self.__dict__.update(what)


class Exporter:
    def __init__(self, state, address):
        self.state, self.options = state, state.options
        self.oxid, self.rem_unknown = secrets.randbits(63), str(uuid.uuid4())
        self.stubs, self.ping_sets = {}, {}
        self.address, self.bindings = address, []

    def listen_at(self, port):
        """Bindings as an activation answer has them: pipes first, then names and addresses with the port."""
        pipe = (activation.NAMED_PIPE, "\\\\PYTHON[\\PIPE\\atsvc]")
        tcp = [(activation.TCP, "PYTHON[%d]" % port)]
        if not self.options.names_only:
            tcp.append((activation.TCP, "%s[%d]" % (self.address, port)))
        self.bindings = [pipe] + tcp

    def odd(self, text):
        self.state.odd(text)

    def export(self, interface, **what):
        stub = Stub(self, interface, **what)
        stub.references = PUBLIC_REFERENCES
        self.stubs[stub.ipid] = stub
        return stub

    def reference(self, stub):
        return activation.object_reference(stub.interface, stub, [(activation.TCP, "PYTHON")])

    def leaked(self):
        return [{"interface": each.interface, "references": each.references} for each in self.stubs.values()]

    # Dispatch

    def call(self, connection, bound, target, opnum, data, level):
        stub, interface = None, bound
        if bound in OBJECT_INTERFACES:
            if target is None:
                raise Fault(INVALID_OBJECT)
            if target == self.rem_unknown:
                interface = REM_UNKNOWN
            else:
                stub = self.stubs.get(target)
                if stub is None:
                    self.odd("a call of an object that is gone")
                    raise Fault(DISCONNECTED)
                interface = stub.interface
            if bound != interface and not (bound == REM_UNKNOWN2 and interface == REM_UNKNOWN):
                self.odd("%s called through a context of %s" % (self.state.name(interface), self.state.name(bound)))
        elif target is not None:
            self.odd("an object UUID for %s" % self.state.name(interface))
        name, kind = METHODS.get((interface, opnum), (None, None))
        if name is None:
            self.odd("operation %d of %s" % (opnum, interface))
            raise Fault(OPERATION_RANGE)
        self.state.called(name, level)
        if name in ("SimplePing", "ComplexPing") and not self.options.anonymous_pings and level < INTEGRITY:
            raise Fault(5)
        if interface != IOBJECT_EXPORTER and level < self.options.minimum_level:
            self.odd("%s at level %d" % (name, level))
            raise Fault(5)
        request = kind()
        used = request.fromString(data)
        if used is not None and used != len(data):
            self.odd("%s: %d bytes after its arguments" % (name, len(data) - used))
        if interface != IOBJECT_EXPORTER:
            self.check_this(request["ORPCthis"], name)
        fault = self.state.fault(name)
        if fault:
            if connection.act(fault):
                raise Silent
            if fault["do"] == "fault":
                raise Fault(fault["value"])
        status = fault["value"] if fault and fault["do"] == "status" else 0
        return getattr(self, name)(request, stub, status)

    def check_this(self, this, name):
        version = this["version"]
        if version["MajorVersion"] != 5 or not 1 <= version["MinorVersion"] <= 7:
            self.odd("%s: COM version %d.%d" % (name, version["MajorVersion"], version["MinorVersion"]))
        if this["flags"] != (1 if name == "RemoteCreateInstance" else 0) or this["reserved1"]:
            self.odd("%s: ORPCTHIS flags %#x, reserved %#x" % (name, this["flags"], this["reserved1"]))
        if this["cid"] == bytes(16):
            self.odd("%s: no causality id" % name)

    @staticmethod
    def finish(answer, status=0):
        """The answer's bytes; ORPCTHAT is empty."""
        if "ORPCthat" in answer.fields:
            answer["ORPCthat"]["extensions"] = dtypes.NULL
        answer["ErrorCode"] = status
        return answer.getData()

    def returned(self, answer, field, stub, status=0):
        """An answer with an interface pointer, null in case of an error."""
        if stub is None:
            answer[field] = dtypes.NULL
        else:
            data = self.reference(stub)
            answer[field]["ulCntData"], answer[field]["abData"] = len(data), list(data)
        return self.finish(answer, status)

    # IObjectExporter, IRemoteSCMActivator

    def ServerAlive2(self, request, stub, status):
        answer = dcomrt.ServerAlive2Response()
        activation.fill(answer["ppdsaOrBindings"], [(activation.TCP, "PYTHON"), (activation.TCP, self.address)])
        answer["pReserved"] = dtypes.NULL
        return self.finish(answer, status)

    def SimplePing(self, request, stub, status):
        known = request["pSetId"] in self.ping_sets
        if not known:
            self.odd("SimplePing of an unknown set")
        return self.finish(dcomrt.SimplePingResponse(), status or (0 if known else INVALID_OBJECT))

    def ComplexPing(self, request, stub, status):
        oids = {each.oid for each in self.stubs.values()}
        added = [each["Data"] for each in request["AddToSet"]] if request["cAddToSet"] else []
        for oid in added:
            if oid not in oids:
                self.odd("ComplexPing adds an unknown object")
        number = request["pSetId"] or secrets.randbits(63)
        self.ping_sets[number] = self.ping_sets.get(number, set()) | set(added)
        answer = dcomrt.ComplexPingResponse()
        answer["pSetId"], answer["pPingBackoffFactor"] = number, 0
        return self.finish(answer, status)

    def RemoteCreateInstance(self, request, stub, status):
        found = activation.properties_in(request["pActProperties"], self.odd)
        asked = activation.describe(found, self.odd)
        self.state.activated(asked)
        answer = dcomrt.RemoteCreateInstanceResponse()
        if asked["class_id"] != activation.WBEM_LEVEL1_LOGIN:
            status = activation.CLASS_NOT_REGISTERED
        if status:
            answer["ppActProperties"] = dtypes.NULL
            return self.finish(answer, status)
        results = []
        for interface in asked["interface_ids"]:
            if interface == LOGIN:
                results.append((interface, 0, self.reference(self.export(LOGIN))))
            else:
                self.odd("activation of %s" % interface)
                results.append((interface, E_NOINTERFACE, None))
        data = activation.answer(results, self, self.options.authn_hint)
        answer["ppActProperties"]["ulCntData"], answer["ppActProperties"]["abData"] = len(data), list(data)
        return self.finish(answer)

    # IRemUnknown

    def RemQueryInterface(self, request, stub, status):
        source = self.stubs.get(text_of(request["ripid"]))
        if source is None:
            self.odd("RemQueryInterface of an object that is gone")
        if request["cIids"] != len(request["iids"]):
            self.odd("RemQueryInterface: %d of %d" % (request["cIids"], len(request["iids"])))
        answer, refusals = QueryInterfaceResponse(), 0
        for each in request["iids"]:
            interface, result = text_of(each["Data"]), dcomrt.REMQIRESULT()
            if source and source.interface == ENUMERATOR and interface == FETCH_SMART and self.options.smart:
                made = self.export(FETCH_SMART, rows=source.rows)
                made.references = request["cRefs"]
                result["hResult"], standard = 0, result["std"]
                standard["flags"], standard["cPublicRefs"] = 0, made.references
                standard["oxid"], standard["oid"] = made.oxid, made.oid
                standard["ipid"] = uuid.UUID(made.ipid).bytes_le
            else:
                refusals += 1
                result["hResult"] = activation.signed(E_NOINTERFACE)
            answer["ppQIResults"].append(result)
        # [MS-DCOM] 3.1.1.5.6.1.1: S_OK, S_FALSE when some were refused, E_NOINTERFACE when all were. aiowmi was written
        # against hosts that say it in the results alone.
        if not status and refusals and not self.options.refuse_in_results:
            status = E_NOINTERFACE if refusals == len(request["iids"]) else S_FALSE
        return self.finish(answer, status)

    def RemAddRef(self, request, stub, status):
        answer = dcomrt.RemAddRefResponse()
        for each in request["InterfaceRefs"]:
            target = self.stubs.get(text_of(each["ipid"]))
            if target:
                target.references += each["cPublicRefs"]
            code = dtypes.DWORD()
            code["Data"] = 0 if target else E_INVALIDARG
            answer["pResults"].append(code)
        return self.finish(answer, status)

    def RemRelease(self, request, stub, status):
        if request["cInterfaceRefs"] != len(request["InterfaceRefs"]):
            self.odd("RemRelease: %d of %d" % (request["cInterfaceRefs"], len(request["InterfaceRefs"])))
        for each in request["InterfaceRefs"]:
            target = self.stubs.get(text_of(each["ipid"]))
            if target is None:
                self.odd("RemRelease of an object that is gone")
                continue
            target.references -= each["cPublicRefs"]
            if target.references < 0 or each["cPrivateRefs"]:
                self.odd("RemRelease: %d references, %d private" % (each["cPublicRefs"], each["cPrivateRefs"]))
            if target.references <= 0:
                del self.stubs[target.ipid]
                self.state.note("released")
        return self.finish(dcomrt.RemReleaseResponse(), status)

    # WMI

    def NTLMLogin(self, request, stub, status):
        namespace = str(request["wszNetworkResource"]).rstrip("\0")
        self.state.namespaces.append(namespace)
        if request["lFlags"] or request["pCtx"] != b"":
            self.odd("NTLMLogin: flags %#x, or a context" % request["lFlags"])
        path = namespace.replace("\\", "/").lower().removeprefix("//./")
        if not status and path != "root/cimv2":
            status = INVALID_NAMESPACE
        made = None if status else self.export(SERVICES)
        return self.returned(wmi.IWbemLevel1Login_NTLMLoginResponse(), "ppNamespace", made, status)

    def ExecQuery(self, request, stub, status):
        language, query = request["strQueryLanguage"]["asData"], request["strQuery"]["asData"]
        self.state.queries.append(query.rstrip("\0"))
        self.state.query_flags.append(request["lFlags"])
        for blob in (request["strQueryLanguage"], request["strQuery"]):
            if blob["cBytes"] != 2 * blob["clSize"] or blob["clSize"] != len(blob["asData"]):
                self.odd("ExecQuery: a BSTR of %d bytes and %d units" % (blob["cBytes"], blob["clSize"]))
        made = None
        if not status and language.rstrip("\0").upper() != "WQL":
            status = INVALID_QUERY_TYPE
        if not status:
            table, rows, status = self.state.select(query.rstrip("\0"))
            made = None if status else self.export(ENUMERATOR, rows=[table, rows, {}])
        return self.returned(wmi.IWbemServices_ExecQueryResponse(), "ppEnum", made, status)

    def take(self, stub, count, status):
        """The next rows of an enumerator, and the status that goes with them."""
        table, rows, _ = stub.rows
        count = min(count, self.options.batch)
        taken, stub.rows[1] = rows[:count], rows[count:]
        if not status and (len(taken) < count or (self.options.early_end and not stub.rows[1])):
            status = S_FALSE
        return table, taken, status

    def Next(self, request, stub, status):
        asked = request["uCount"]
        self.state.batches.append(asked)
        answer = wmi.IEnumWbemClassObject_NextResponse()
        table, taken = stub.rows[0], []
        if not status or status < 0x80000000:
            table, taken, status = self.take(stub, asked, status)
        for row in taken:
            reference = dcomrt.OBJREF_CUSTOM()
            reference["iid"], reference["clsid"] = wmi.IID_IWbemClassObject[:16], wmi.CLSID_WbemClassObject
            reference["cbExtension"] = 0
            reference["pObjectData"] = table.instance(row).getData()
            reference["ObjectReferenceSize"] = len(reference["pObjectData"]) + 8
            data, pointer = reference.getData(), dcomrt.PMInterfacePointer()
            pointer["ulCntData"], pointer["abData"] = len(data), list(data)
            answer["apObjects"].append(pointer)
        answer.fields["apObjects"].fields["MaximumCount"] = asked
        answer["puReturned"] = len(taken)
        return self.finish(answer, status)

    def GetSmartEnum(self, request, stub, status):
        made = None if status else self.export(SMART, rows=stub.rows)
        return self.returned(wmi.IWbemFetchSmartEnum_GetSmartEnumResponse(), "ppSmartEnum", made, status)

    def SmartNext(self, request, stub, status):
        self.state.batches.append(request["uCount"])
        answer = ProxyNextResponse()
        table, taken = stub.rows[0], []
        if not status or status < 0x80000000:
            table, taken, status = self.take(stub, request["uCount"], status)
        known = stub.rows[2].setdefault(bytes(request["proxyGUID"]), {})
        data = b""
        if taken:
            class_id = self.state.class_id(table.name)
            data = object_array(table, taken, class_id, class_id in known)
            known[class_id] = True
        if data:
            answer["pBuffer"] = list(data)
        else:
            answer["pBuffer"] = dtypes.NULL
        answer["puReturned"], answer["pdwBuffSize"] = len(taken), len(data)
        return self.finish(answer, status)

