/// What a decoder takes from a peer at most. Sizes of messages are limited where they are received.
package struct WMIOLimits: Sendable {
    /// How deep objects may be embedded in one another. Windows embeds one in the other when events carry an instance
    /// that holds an instance; nothing deeper is known.
    package var maximumDepth: Int
    /// Bytes of memory for each byte of input. Real objects need up to six.
    package var memoryPerByte: Int
    /// Bytes of memory that even the smallest message may take, be it an object or an array of objects.
    package var memoryFloor: Int
    /// Class parts that are remembered by their bytes.
    package var maximumCachedClasses: Int
    /// The longest class part that is remembered by its bytes.
    package var maximumCachedClassLength: Int
    /// Classes that one enumeration may bring with a GUID. A query on a superclass brings each subclass that has
    /// instances.
    package var maximumClassesPerEnumeration: Int

    package init(
        maximumDepth: Int = 8,
        memoryPerByte: Int = 16,
        memoryFloor: Int = 4096,
        maximumCachedClasses: Int = 16,
        maximumCachedClassLength: Int = 65_536,
        maximumClassesPerEnumeration: Int = 256
    ) {
        self.maximumDepth = maximumDepth
        self.memoryPerByte = memoryPerByte
        self.memoryFloor = memoryFloor
        self.maximumCachedClasses = maximumCachedClasses
        self.maximumCachedClassLength = maximumCachedClassLength
        self.maximumClassesPerEnumeration = maximumClassesPerEnumeration
    }
}
