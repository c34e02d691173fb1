/// Writes instances as WS-Management shows them.
struct InstanceWriter {
    private static let instanceNamespace = "http://www.w3.org/2001/XMLSchema-instance"
    private static let cimNamespace = "http://schemas.dmtf.org/wbem/wscim/1/common"

    let plan: WMIPlan
    let host: HostSnapshot

    /// `w:XmlFragment` for a column list, `p:Class` for all columns.
    func write(_ instance: Int, into buffer: inout XMLBuffer) {
        if self.plan.selectsAll {
            self.writeClass(instance, into: &buffer)
        } else {
            self.writeFragment(instance, into: &buffer)
        }
    }

    private func writeFragment(_ instance: Int, into buffer: inout XMLBuffer) {
        buffer.raw(#"<w:XmlFragment xmlns:xsi="\#(Self.instanceNamespace)">"#)
        for column in self.plan.columns {
            let property = self.plan.wmiClass.properties[column]
            self.write(property, instance, prefix: "", datetime: "Datetime", into: &buffer)
        }
        buffer.raw("</w:XmlFragment>")
    }

    private func writeClass(_ instance: Int, into buffer: inout XMLBuffer) {
        let name = self.plan.wmiClass.name
        buffer.raw(
            #"<p:\#(name) xmlns:xsi="\#(Self.instanceNamespace)" xmlns:p="\#(WSManService.resourcePrefix)\#(name)""#
                + #" xmlns:cim="\#(Self.cimNamespace)" xsi:type="p:\#(name)_Type" xml:lang="en-US">"#
        )
        for column in self.plan.columns {
            let property = self.plan.wmiClass.properties[column]
            self.write(property, instance, prefix: "p:", datetime: "cim:Datetime", into: &buffer)
        }
        buffer.raw("</p:\(name)>")
    }

    private func write(
        _ property: WMIProperty,
        _ instance: Int,
        prefix: String,
        datetime: String,
        into buffer: inout XMLBuffer
    ) {
        let value = property.value(self.host, instance)
        if case .array(let elements) = value {
            for element in elements {
                Self.write(element, name: property.name, prefix: prefix, datetime: datetime, into: &buffer)
            }
        } else {
            Self.write(value, name: property.name, prefix: prefix, datetime: datetime, into: &buffer)
        }
    }

    private static func write(
        _ value: CIMValue,
        name: String,
        prefix: String,
        datetime: String,
        into buffer: inout XMLBuffer
    ) {
        buffer.raw("<")
        buffer.raw(prefix)
        buffer.raw(name)
        if value == .null {
            buffer.raw(#" xsi:nil="true"/>"#)
            return
        }
        buffer.raw(">")
        switch value {
        case .null, .array: break
        case .boolean(let flag): buffer.raw(flag ? "true" : "false")
        case .signed(let number): buffer.raw(String(number))
        case .unsigned(let number): buffer.number(number)
        case .string(let text): buffer.text(text)
        case .datetime(let time, let offset):
            buffer.raw("<\(datetime)>\(TimeText.xmlDateTime(time, offsetMinutes: offset))</\(datetime)>")
        }
        buffer.raw("</")
        buffer.raw(prefix)
        buffer.raw(name)
        buffer.raw(">")
    }
}
