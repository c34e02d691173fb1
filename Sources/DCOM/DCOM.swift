/// Names of this room that several of its folders use.
package enum DCOM {
    /// TCP port of the endpoint mapper and of the object exporter's resolver ([MS-DCOM] 2.1).
    package static let endpointMapperPort = 135
}
