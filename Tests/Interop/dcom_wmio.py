"""WMI objects in the form of [MS-WMIO], put together from impacket's structures.

`Table` is a class with its rows; `Table.instance` gives an encoding unit, `object_array` the packet that the smart
enumerator sends. Every row also says, by `truth`, what a client must read.
"""

import struct
import uuid

from impacket.dcerpc.v5.dcom import wmi

NO_REFERENCE = 0xFFFFFFFF
DICTIONARY = 0x80000000
CIMTYPE = DICTIONARY | 10
KEY = DICTIONARY | 1
ARRAY = wmi.CIM_ARRAY_FLAG

TYPES = {
    "sint8": (16, "b"), "uint8": (17, "B"), "sint16": (2, "<h"), "uint16": (18, "<H"), "sint32": (3, "<l"),
    "uint32": (19, "<L"), "sint64": (20, "<q"), "uint64": (21, "<Q"), "real32": (4, "<f"), "real64": (5, "<d"),
    "boolean": (11, "<H"), "string": (8, "<L"), "datetime": (101, "<L"), "reference": (102, "<L"),
    "char16": (103, "<H"), "object": (13, "<L"),
}  # fmt: skip
IN_HEAP = ("string", "datetime", "reference", "object")

# Windows leaves bytes of no meaning behind the last item of a heap, and behind the heap of a class.
SLACK = b"\0\xde\xad"

# bits of [MS-WMIO] 2.2.27
IS_NULL = 1
IS_DEFAULT = 2


def encoded_string(text):
    """[MS-WMIO] 2.2.78: one byte a character where that is enough, else UTF-16."""
    try:
        return b"\0" + text.encode("latin-1") + b"\0"
    except UnicodeEncodeError:
        return b"\1" + text.encode("utf-16le") + b"\0\0"


class Heap:
    def __init__(self):
        self.bytes = b""

    def add(self, item):
        at = len(self.bytes)
        self.bytes += item
        return at

    def string(self, text):
        return self.add(encoded_string(text))

    def structure(self):
        heap = wmi.HEAP()
        heap["HeapItem"] = self.bytes + SLACK
        heap["HeapLength"] = len(heap["HeapItem"]) | 0x80000000
        return heap


class Property:
    """A property: its CIM type, `[]` at the end for arrays; `default` is what the class says."""

    def __init__(self, name, cim_type, is_key=False, default=None):
        self.name, self.is_key, self.default = name, is_key, default
        self.is_array = cim_type.endswith("[]")
        self.cim_type = cim_type.removesuffix("[]")
        self.number, self.format = TYPES[self.cim_type]

    @property
    def size(self):
        return 4 if self.is_array else struct.calcsize(self.format)

    def scalar(self, value, heap):
        if self.cim_type == "object":
            unit = value.getData()[4:]  # the length and the block, without the signature
            return struct.pack("<L", heap.add(unit))
        if self.cim_type in IN_HEAP:
            return struct.pack("<L", heap.string(value))
        if self.cim_type == "boolean":
            return b"\xff\xff" if value else b"\0\0"
        if self.cim_type == "char16":
            return struct.pack(self.format, ord(value))
        return struct.pack(self.format, value)

    def encode(self, value, heap):
        """The bytes in the value table; what does not fit there goes to the heap."""
        if not self.is_array:
            return self.scalar(value, heap)
        count = struct.pack("<L", len(value))
        if self.cim_type not in IN_HEAP:
            return struct.pack("<L", heap.add(count + b"".join(self.scalar(each, heap) for each in value)))
        # References first, then the strings right behind them: impacket and aiowmi look for them there.
        items = [encoded_string(each) for each in value]
        at = len(heap.bytes) + 4 + 4 * len(items)
        references = b""
        for item in items:
            references += struct.pack("<L", at)
            at += len(item)
        return struct.pack("<L", heap.add(count + references + b"".join(items)))

    def type_text(self):
        return self.cim_type if self.cim_type != "object" else "object:Embedded"


def qualifier(name, number, value):
    made = wmi.QUALIFIER()
    made["QualifierName"], made["QualifierFlavor"], made["QualifierType"] = name, 0, number
    return made.getData() + value


def qualifier_set(qualifiers=()):
    made = wmi.QUALIFIER_SET()
    made["Qualifier"] = b"".join(qualifiers)
    made["EncodingLength"] = 4 + len(made["Qualifier"])
    return made


def nd_and_values(properties, bits, values):
    """The NdTable, two bits a property, and the value table."""
    table = bytearray((len(properties) + 3) // 4)
    for order, bit in enumerate(bits):
        table[order // 4] |= bit << (order % 4 * 2)
    return bytes(table) + b"".join(values)


class Table:
    """A class with rows; a row is a dictionary, a property that it lacks takes the class's default."""

    nulls_as_windows = True

    def __init__(self, name, properties, rows, parents=(), namespace="root\\CIMV2"):
        self.name, self.properties, self.rows = name, properties, rows
        self.parents, self.namespace = parents, namespace

    def truth(self, row):
        """What a client must read."""
        found = {}
        for each in self.properties:
            value = row.get(each.name, each.default)
            if isinstance(value, wmi.ENCODING_UNIT):
                continue
            found[each.name] = value
        return found

    def selected(self, names):
        """The class with these properties only, in this order, as a query with a list answers."""
        if names == ["*"]:
            return self
        by_name = {each.name.lower(): each for each in self.properties}
        chosen = [by_name[name.lower()] for name in names if name.lower() in by_name]
        made = Table(self.name, chosen, self.rows, self.parents, self.namespace)
        made.nulls_as_windows = self.nulls_as_windows
        return made

    def class_part(self):
        heap = Heap()
        name = heap.string(self.name)
        values, bits, lookups, offset = [], [], [], 0
        for order, each in enumerate(self.properties):
            name_reference = heap.string(each.name)
            qualifiers = [qualifier(CIMTYPE, 8, struct.pack("<L", heap.string(each.type_text())))]
            if each.is_key:
                qualifiers.append(qualifier(KEY, 11, b"\xff\xff"))
            info = wmi.PROPERTY_INFO()
            info["PropertyType"] = each.number | (ARRAY if each.is_array else 0)
            info["DeclarationOrder"] = order
            info["ValueTableOffset"] = offset
            info["ClassOfOrigin"] = 0
            info["PropertyQualifierSet"] = qualifier_set(qualifiers)
            lookup = wmi.PropertyLookup()
            lookup["PropertyNameRef"] = name_reference
            lookup["PropertyInfoRef"] = heap.add(info.getData())
            lookups.append((each.name.lower(), lookup.getData()))
            values.append(b"\xff" * each.size if each.default is None else each.encode(each.default, heap))
            bits.append(IS_NULL if each.default is None else 0)
            offset += each.size

        part = wmi.CLASS_PART()
        derivation = b"".join(
            encoded_string(parent) + struct.pack("<L", len(encoded_string(parent))) for parent in self.parents
        )
        part["DerivationList"] = wmi.DERIVATION_LIST()
        part["DerivationList"]["ClassNameEncoding"] = derivation
        part["DerivationList"]["EncodingLength"] = 4 + len(derivation)
        part["ClassQualifierSet"] = qualifier_set()
        part["PropertyLookupTable"] = wmi.PROPERTY_LOOKUP_TABLE()
        part["PropertyLookupTable"]["PropertyCount"] = len(lookups)
        part["PropertyLookupTable"]["PropertyLookup"] = b"".join(data for _, data in sorted(lookups))
        part["NdTable_ValueTable"] = nd_and_values(self.properties, bits, values)
        part["ClassHeap"] = heap.structure()
        part["Garbage"] = SLACK
        header = wmi.CLASS_HEADER()
        header["ClassNameRef"] = name
        header["NdTableValueTableLength"] = len(part["NdTable_ValueTable"])
        part["ClassHeader"] = header
        header["EncodingLength"] = len(part.getData())
        return part

    def instance_data(self, row):
        """The part of an instance that follows its class: [MS-WMIO] 2.2.53 from EncodingLength on."""
        heap = Heap()
        name = heap.string(self.name)
        values, bits = [], []
        for each in self.properties:
            if each.name not in row and each.default is not None:
                values.append(b"\0" * each.size)
                bits.append(IS_DEFAULT)
                continue
            value = row.get(each.name)
            if value is None:
                # Windows sets both bits and zeros the place; one bit, and anything in the place, means the same.
                values.append((b"\0" if self.nulls_as_windows else b"\xff") * each.size)
                bits.append(IS_NULL | (IS_DEFAULT if self.nulls_as_windows else 0))
                continue
            values.append(each.encode(value, heap))
            bits.append(0)
        body = struct.pack("<BL", 0, name) + nd_and_values(self.properties, bits, values)
        body += qualifier_set().getData() + b"\1" + heap.structure().getData()
        return struct.pack("<L", len(body) + 4) + body

    def block(self, row, with_class=True):
        """An object block, decorated as those that come from a server are."""
        flags = wmi.CIM_INSTANCE | wmi.CIM_DECORATION
        data = struct.pack("B", flags) + encoded_string("PYTHON") + encoded_string(self.namespace)
        if with_class:
            data += self.class_part().getData()
        return data + self.instance_data(row)

    def instance(self, row):
        unit = wmi.ENCODING_UNIT()
        data = self.block(row)
        unit["ObjectEncodingLength"] = len(data)
        unit["ObjectBlock"] = data
        return unit


def object_array(table, rows, class_id, is_class_known):
    """[MS-WMI] 2.2.14: the first object carries the class unless the enumerator has sent it before."""
    objects = b""
    for row in rows:
        data = table.block(row, with_class=not is_class_known)
        # dwSizeOfHeader, dwSizeOfData, the class's id, then the object
        inner = struct.pack("<LL", 24, len(data)) + uuid.UUID(class_id).bytes_le + data
        objects += struct.pack("<LLB", 9, len(inner), 3 if is_class_known else 2) + inner
        is_class_known = True
    third = struct.pack("<LLL", 12, len(objects), len(rows)) + objects
    second = struct.pack("<LL", 8, len(third)) + third
    return struct.pack("<L8sLLLBB", 0, b"WBEMDATA", 26, len(second), 0, 1, 1) + second
