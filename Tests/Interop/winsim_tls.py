"""Makes TLS handshakes with a host and tells why they fail.

Reads a job in JSON from standard input: host, port, ca_file, names. Writes JSON: {name: "ok" or the reason}.
"""

import json
import socket
import ssl
import sys


def handshake(host, port, ca_file, name):
    context = ssl.create_default_context(cafile=ca_file)
    try:
        with socket.create_connection((host, port), timeout=5) as raw:
            with context.wrap_socket(raw, server_hostname=name) as connection:
                return f"ok {connection.version()}"
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"


def main():
    job = json.load(sys.stdin)
    result = {name: handshake(job["host"], job["port"], job["ca_file"], name) for name in job["names"]}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
