"""One end of an authentication, played by pyspnego, driven over standard input and output.

Arguments: the role (`accept` or `initiate`), the protocol (`ntlm` or `negotiate`), the account as
DOMAIN:user:password, and optionally the application data of channel bindings in hexadecimal.

Each line read is a command with operands in hexadecimal (`-` for nothing); each line written is `ok` and the
result, or `error` and the reason. All of it ends after a minute, whatever happens.
"""

import os
import signal
import sys
import tempfile

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.iov import BufferType

TIME_LIMIT_SECONDS = 60


def decode(text):
    return b"" if text == "-" else bytes.fromhex(text)


def encode(data):
    return data.hex() if data else "-"


def make_context(role, protocol, account, bindings):
    channel_bindings = GssChannelBindings(application_data=bytes.fromhex(bindings)) if bindings else None
    # The pure Python implementation, whatever else may be installed.
    options = spnego.NegotiateOptions.use_ntlm if protocol == "ntlm" else spnego.NegotiateOptions.use_negotiate
    if role == "accept":
        return spnego.server(
            hostname="server", service="HTTP", protocol=protocol, options=options, channel_bindings=channel_bindings
        )
    domain, user, password = account.split(":", 2)
    return spnego.client(
        f"{domain}\\{user}" if domain else user,
        password,
        hostname="server",
        service="HTTP",
        protocol=protocol,
        options=options,
        channel_bindings=channel_bindings,
    )


def run(context, command, operands):
    if command == "step":
        token = context.step(decode(operands[0]) or None)
        return f"{int(context.complete)} {encode(token)}"
    if command == "principal":
        return (context.client_principal or "").encode().hex()
    if command == "key":
        return encode(context.session_key)
    if command == "seal":
        sealed = context.wrap_winrm(decode(operands[0]))
        return f"{encode(sealed.header)} {encode(sealed.data)}"
    if command == "unseal":
        return encode(context.unwrap_winrm(decode(operands[0]), decode(operands[1])))
    if command == "sign":
        return encode(context.sign(decode(operands[0])))
    if command == "verify":
        context.verify(decode(operands[0]), decode(operands[1]))
        return "-"
    if command == "seal_part":
        before, part, after = (decode(operand) for operand in operands)
        result = context.wrap_iov(
            [
                (BufferType.sign_only, before),
                (BufferType.data, part),
                (BufferType.sign_only, after),
                BufferType.header,
            ]
        )
        return f"{encode(result.buffers[3].data)} {encode(result.buffers[1].data)}"
    if command == "unseal_part":
        before, part, after, signature = (decode(operand) for operand in operands)
        result = context.unwrap_iov(
            [
                (BufferType.sign_only, before),
                (BufferType.data, part),
                (BufferType.sign_only, after),
                (BufferType.header, signature),
            ]
        )
        return encode(result.buffers[1].data)
    raise ValueError(f"unknown command {command}")


def main():
    signal.alarm(TIME_LIMIT_SECONDS)
    role, protocol, account = sys.argv[1:4]
    bindings = sys.argv[4] if len(sys.argv) > 4 else ""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as users:
        users.write(account + "\n")
        users.flush()
        os.environ["NTLM_USER_FILE"] = users.name
        context = make_context(role, protocol, account, bindings)
        print(f"ok pyspnego {type(context).__name__}", flush=True)
        for line in sys.stdin:
            command, *operands = line.split()
            try:
                answer = f"ok {run(context, command, operands)}"
            except Exception as error:  # every failure is an answer here
                answer = f"error {type(error).__name__}: {error}".replace("\n", " ")
            print(answer, flush=True)


main()
