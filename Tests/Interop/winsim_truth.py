"""Asks the truth endpoint: reads {url, put} in JSON from standard input, writes {status, body}."""

import json
import sys
import urllib.error
import urllib.request


def main():
    job = json.load(sys.stdin)
    body = job.get("put")
    request = urllib.request.Request(
        job["url"], data=None if body is None else body.encode(), method="GET" if body is None else "PUT"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            json.dump({"status": answer.status, "body": answer.read().decode()}, sys.stdout)
    except urllib.error.HTTPError as error:
        json.dump({"status": error.code, "body": error.read().decode()}, sys.stdout)


if __name__ == "__main__":
    main()
