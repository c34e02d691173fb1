"""The slots of devices, as the scheduler has them: which were polled, whenever that was."""

import uuid

MASK = (1 << 64) - 1


def stable_hash(value):
    """The finalizer of SplitMix64, as NMSCore.Partition has it."""
    z = (value + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def job_id(device, milliseconds):
    """The job of a device's slot, as NMSCore.PollJob has it."""
    first = stable_hash(stable_hash(device) ^ milliseconds)
    second = stable_hash(stable_hash(~milliseconds & MASK) ^ device)
    high = first & ~0xF000 | 0x8000
    low = second & ~(0b11 << 62) | 0b10 << 62
    return str(uuid.UUID(int=high << 64 | low))


def slots(device, interval, since, until):
    """The slots of a device between two times, in milliseconds since 1970."""
    period = interval * 1000
    phase = stable_hash(device ^ 0x5EED) % period
    first = (int(since * 1000) - phase + period - 1) // period * period + phase
    return range(first, int(until * 1000), period)
