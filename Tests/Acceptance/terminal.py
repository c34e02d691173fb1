"""A terminal of a given size with a program in it, as its user sees it."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time

import pyte


class TerminalSession:
    """Runs a command on a pseudo-terminal; `screen()` is what stands there now, line by line."""

    def __init__(self, command, columns=80, rows=24, environment=None):
        self.emulator = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.emulator)
        self.raw = b""
        self.lock = threading.Lock()
        self.master, slave = pty.openpty()
        self.resize(columns, rows, tell=False)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            with self.lock:
                self.raw += data
                self.stream.feed(data)

    def resize(self, columns, rows, tell=True):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            with self.lock:
                self.emulator.resize(rows, columns)

    def screen(self):
        with self.lock:
            return [line.rstrip() for line in self.emulator.display]

    def colors(self, row):
        """Colours of the characters of a row."""
        with self.lock:
            return {self.emulator.buffer[row][column].fg for column in range(self.emulator.columns)}

    def write(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, condition, timeout=20):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            lines = self.screen()
            if condition(lines):
                return lines
            time.sleep(0.05)
        raise AssertionError("the terminal shows:\n" + "\n".join(self.screen()))

    def end(self, timeout=10):
        """The exit status; the terminal must be as it was."""
        status = self.process.wait(timeout)
        assert termios.tcgetattr(self.slave)[3] == self.before[3], "echo and line mode were not given back"
        # What was written last may still be on its way: the reader ends when the last writer's end is closed.
        os.close(self.slave)
        self.slave = None
        self.reader.join(timeout)
        self.close()
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
        for descriptor in (self.slave, self.master):
            if descriptor is None:
                continue
            try:
                os.close(descriptor)
            except OSError:
                pass
        self.slave = self.master = None
