"""Parses documents with Expat, for a comparison of parsers.

Standard input: one document in base64 a line. Standard output: a JSON list with a list of events for each document, or
null for a document that Expat refuses.
"""

import base64
import json
import sys
import xml.parsers.expat

# Cannot occur in a document, so it parts namespace and local name safely.
SEPARATOR = "\x01"


def braced(name):
    namespace, _, local = name.rpartition(SEPARATOR)
    return "{%s}%s" % (namespace, local)


def events(document):
    lines = []
    text = []

    def flush():
        if text:
            lines.append("text " + "".join(text))
            text.clear()

    def start(name, attributes):
        flush()
        pairs = sorted(' %s="%s"' % (braced(key), value) for key, value in attributes.items())
        lines.append("start " + braced(name) + "".join(pairs))

    def end(name):
        flush()
        lines.append("end " + braced(name))

    parser = xml.parsers.expat.ParserCreate(namespace_separator=SEPARATOR)
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    try:
        parser.Parse(document, True)
    except (xml.parsers.expat.ExpatError, LookupError, ValueError):
        # The latter two are for encodings that Python or Expat does not know.
        return None
    return lines


def main():
    json.dump([events(base64.b64decode(line)) for line in sys.stdin.read().split("\n")], sys.stdout)


if __name__ == "__main__":
    main()
