/// Finds the key that a misspelt one was meant to be.
enum KeySuggestion {
    /// `Did you mean …?`, or `otherwise` when nothing is near.
    static func remedy(for name: String, among candidates: [String], otherwise: String) -> String {
        let nearest = candidates.map { (name: $0, distance: self.distance(name, $0)) }.min { $0.distance < $1.distance }
        guard let nearest, nearest.distance <= max(2, name.count / 4) else { return otherwise }
        return "Did you mean \(nearest.name)?"
    }

    /// The least number of insertions, deletions and replacements that turn one text into the other.
    static func distance(_ first: String, _ second: String) -> Int {
        let first = Array(first.utf8.prefix(64))
        let second = Array(second.utf8.prefix(64))
        var row = Array(0...second.count)
        for (i, a) in first.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, b) in second.enumerated() {
                let replaced = diagonal + (a == b ? 0 : 1)
                diagonal = row[j + 1]
                row[j + 1] = min(replaced, row[j] + 1, row[j + 1] + 1)
            }
        }
        return row[second.count]
    }
}
