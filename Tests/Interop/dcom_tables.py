"""The classes that dcom_server.py has, with values that differ in every place and some that are easily got wrong."""

from dcom_wmio import TYPES, Property, Table

BIG = (1 << 63) + 12345


def embedded():
    table = Table("Embedded", [Property("Text", "string"), Property("Number", "uint32")], [])
    return table.instance({"Text": "inside", "Number": 77})


def operating_system():
    texts = ["Caption", "Version", "BuildNumber"]
    return Table(
        "Win32_OperatingSystem",
        [Property(name, "uint64") for name in ("TotalVisibleMemorySize", "FreePhysicalMemory")]
        + [Property("NumberOfProcesses", "uint32")]
        + [Property(name, "string") for name in texts]
        + [Property(name, "datetime") for name in ("LastBootUpTime", "LocalDateTime")],
        [
            {
                "TotalVisibleMemorySize": 4193780, "FreePhysicalMemory": 1234567, "NumberOfProcesses": 57,
                "Caption": "Microsoft Windows Server 2008 R2 für Größe", "Version": "6.1.7601",
                "BuildNumber": "7601", "LastBootUpTime": "20261101010203.456789+060",
                "LocalDateTime": "20261123213000.123456+060",
            }
        ],
        parents=("CIM_OperatingSystem", "CIM_LogicalElement", "CIM_ManagedSystemElement"),
    )  # fmt: skip


def logical_disk():
    return Table(
        "Win32_LogicalDisk",
        [Property("DeviceID", "string", is_key=True), Property("Size", "uint64"), Property("FreeSpace", "uint64"),
         Property("DriveType", "uint32")],
        [
            {"DeviceID": "C:", "Size": 107267223552, "FreeSpace": 0, "DriveType": 3},
            {"DeviceID": "D:", "Size": None, "FreeSpace": None, "DriveType": 3},
            {"DeviceID": "E:", "Size": BIG, "FreeSpace": 4294967296, "DriveType": 3},
        ],
        parents=("CIM_LogicalDisk",),
    )  # fmt: skip


def processor():
    return Table(
        "Win32_PerfRawData_PerfOS_Processor",
        [Property("Name", "string", is_key=True), Property("PercentProcessorTime", "uint64"),
         Property("Timestamp_Sys100NS", "uint64")],
        [{"Name": "_Total", "PercentProcessorTime": 7777777777777, "Timestamp_Sys100NS": 134079930001234567}],
        parents=("Win32_PerfRawData",),
    )  # fmt: skip


def network():
    numbers = [
        "BytesReceivedPersec", "BytesSentPersec", "PacketsReceivedPersec", "PacketsSentPersec",
        "PacketsReceivedErrors", "PacketsOutboundErrors", "PacketsReceivedDiscarded", "PacketsOutboundDiscarded",
        "CurrentBandwidth", "Timestamp_PerfTime", "Frequency_PerfTime",
    ]  # fmt: skip
    names = ["Intel[R] Gigabit", "網卡 2", "isatap.{1}"] + ["Adapter %d" % number for number in range(3, 40)]
    rows = []
    for number, name in enumerate(names):
        row = {"Name": name}
        for column, each in enumerate(numbers):
            row[each] = number * 1000003 + column * 97 + (1 << 33 if column < 2 else 0)
        rows.append(row)
    wide = numbers[:2] + numbers[8:]
    properties = [Property("Name", "string", is_key=True)]
    properties += [Property(each, "uint64" if each in wide else "uint32") for each in numbers]
    return Table("Win32_PerfRawData_Tcpip_NetworkInterface", properties, rows, parents=("Win32_PerfRawData",))


def computer_system():
    return Table(
        "Win32_ComputerSystem",
        [Property("DNSHostName", "string"), Property("Domain", "string"), Property("PartOfDomain", "boolean")],
        [{"DNSHostName": "python-host", "Domain": "fabrikam.test", "PartOfDomain": True}],
        parents=("CIM_UnitaryComputerSystem",),
    )


def everything():
    """Every type, once with values at their limits, once null, once left to the class's defaults."""
    limits = {
        "sint8": -128, "uint8": 255, "sint16": -32768, "uint16": 65535, "sint32": -(1 << 31), "uint32": (1 << 32) - 1,
        "sint64": -(1 << 63), "uint64": (1 << 64) - 1, "real32": -0.5, "real64": 1e300, "boolean": True,
        "string": "häß€", "datetime": "20260229235959.999999-480", "char16": "Ж",
    }  # fmt: skip
    defaults = {"uint32": 42, "string": "defaultValue", "boolean": True, "sint64": -7}
    properties = [Property("A_" + each, each, default=defaults.get(each)) for each in limits]
    arrays = {
        "uint8": [0, 255], "sint32": [-1, 0, 1 << 30], "uint64": [1 << 63], "boolean": [True, False],
        "string": ["", "zwei", "trois"], "real64": [0.25], "uint16": [],
    }  # fmt: skip
    properties += [Property("B_" + each, each + "[]") for each in arrays]
    properties += [Property("C_object", "object")]
    full = {"A_" + each: value for each, value in limits.items()}
    full |= {"B_" + each: value for each, value in arrays.items()} | {"C_object": embedded()}
    empty = {each.name: None for each in properties}
    zero = {"A_uint32": 0, "A_sint64": 0, "A_boolean": False, "A_string": ""}
    return Table("NMS_Everything", properties, [full, empty, {}, zero], parents=("NMS_Parent",))


def other_nulls():
    table = Table("NMS_Nulls", [Property("A_" + each, each) for each in TYPES], [{}])
    table.nulls_as_windows = False
    return table


def tables():
    made = [operating_system(), logical_disk(), processor(), network(), computer_system(), everything(), other_nulls()]
    made.append(Table("NMS_Nothing", [Property("Name", "string")], []))
    return {table.name.lower(): table for table in made}
