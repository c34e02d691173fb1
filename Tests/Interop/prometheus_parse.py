"""Reads an exposition from standard input with Prometheus' own parser; writes its families as JSON.

The argument is the format: `text` or `openmetrics`, whose parser is the strict one.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text


def main():
    parse = {"text": parse_text, "openmetrics": parse_openmetrics}[sys.argv[1]]
    text = sys.stdin.buffer.read().decode()
    families = [
        {
            "name": family.name,
            "help": family.documentation,
            "type": family.type,
            # As text: JSON has no infinity.
            "samples": [
                {"name": sample.name, "labels": sample.labels, "value": repr(float(sample.value))}
                for sample in family.samples
            ],
        }
        for family in parse(text)
    ]
    json.dump(families, sys.stdout)


if __name__ == "__main__":
    main()
