/// A column of a table.
package struct TextColumn: Sendable {
    package enum Alignment: Sendable { case leading, trailing }

    let title: String
    let alignment: Alignment
    /// The fewest columns of a terminal that make sense; nil does not shrink.
    let minimum: Int?
    /// Left out first when there is too little room; 0 never.
    let expendability: Int

    package init(_ title: String, _ alignment: Alignment = .leading, minimum: Int? = nil, expendability: Int = 0) {
        self.title = title
        self.alignment = alignment
        self.minimum = minimum
        self.expendability = expendability
    }
}

/// A text in a table.
package struct TextCell: Sendable, Equatable {
    var text: String
    var style: TextStyle?

    /// - Parameter text: made harmless here.
    package init(_ text: String?, _ style: TextStyle? = nil) {
        self.text = text.map(PrintableText.of) ?? "-"
        self.style = style
    }
}

/// Text in columns that fits the terminal: flexible columns shrink, then expendable ones are left out.
package struct TextTable: Sendable {
    private static let gap = 2

    let columns: [TextColumn]
    let rows: [[TextCell]]

    package init(columns: [TextColumn], rows: [[TextCell]]) {
        self.columns = columns
        self.rows = rows
    }

    /// The heading and the rows.
    /// - Parameter width: in columns; nil is without limit.
    package func lines(_ style: TextStyler, width: Int?) -> [String] {
        let widths = self.widths(width)
        let heading = self.columns.map { TextCell($0.title) }
        return [style.apply(.bold, to: self.line(heading, widths, .plain))]
            + self.rows.map { self.line($0, widths, style) }
    }

    /// Of each column; nil for one that is left out.
    private func widths(_ limit: Int?) -> [Int?] {
        var widths: [Int?] = self.columns.indices.map { index in
            self.rows.reduce(PrintableText.width(self.columns[index].title)) {
                max($0, PrintableText.width($1[index].text))
            }
        }
        guard let limit else { return widths }
        func excess() -> Int {
            let shown = widths.compactMap { $0 }
            return shown.reduce(0, +) + Self.gap * max(0, shown.count - 1) - limit
        }
        func slack() -> Int {
            widths.indices.reduce(0) { sum, index in
                guard let width = widths[index], let minimum = self.columns[index].minimum else { return sum }
                return sum + max(0, width - minimum)
            }
        }
        while excess() > slack() {
            let candidates = widths.indices.filter { widths[$0] != nil && self.columns[$0].expendability > 0 }
            let next = candidates.max { self.columns[$0].expendability < self.columns[$1].expendability }
            guard let next else { break }
            widths[next] = nil
        }
        // The widest gives first, so that names and systems end alike.
        while excess() > 0 {
            let flexible = widths.indices.filter { index in
                guard let width = widths[index], let minimum = self.columns[index].minimum else { return false }
                return width > minimum
            }
            guard let widest = flexible.max(by: { (widths[$0] ?? 0) < (widths[$1] ?? 0) }) else { break }
            widths[widest] = (widths[widest] ?? 0) - 1
        }
        return widths
    }

    private func line(_ cells: [TextCell], _ widths: [Int?], _ style: TextStyler) -> String {
        let last = widths.lastIndex { $0 != nil }
        var line = ""
        for (index, cell) in cells.enumerated() {
            guard let width = widths[index] else { continue }
            let text = PrintableText.fitted(cell.text, width: width, ellipsis: style.ellipsis)
            let padding = String(repeating: " ", count: max(0, width - PrintableText.width(text)))
            if !line.isEmpty { line += String(repeating: " ", count: Self.gap) }
            switch self.columns[index].alignment {
            case .leading: line += style.apply(cell.style, to: text) + (index == last ? "" : padding)
            case .trailing: line += padding + style.apply(cell.style, to: text)
            }
        }
        return line
    }
}
