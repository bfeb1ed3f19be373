"""Drives a server that sends every message back with Autobahn's cases.

Arguments: the server's address, and how many messages each case of compression sends. The whole suite sends 1,000 of up to 128 KiB in
each of 216 cases, which takes an hour.
"""

import asyncio
import os
import sys

from kosoku import FailureError, run_fuzzingclient
from kosoku.cases import CASES


def take_uncompressed(case):
    """Lets a case of compression take an answer that is not compressed, as RFC 7692, section 6, permits.

    kosoku gives it as text, and the case, which is written for Python 2, takes bytes only.
    """
    on_message = case.onMessage

    def take(self, message, binary):
        if isinstance(message, str):
            message = message.encode("latin-1" if binary else "utf-8")
        on_message(self, message, binary)

    case.onMessage = take


async def run(address, cases, concurrency):
    """The results of these cases, whatever they are."""
    try:
        return await run_fuzzingclient(address, cases, concurrency=concurrency)
    except FailureError as failure:
        return failure.results


def is_right(case):
    """Whether it went as it must, or the specification says nothing on it."""
    return case.passed and case.behavior.value in ("OK", "INFORMATIONAL")


async def main(address, messages):
    for case in CASES.values():
        if hasattr(case, "TESTDATA"):
            case.COUNT = messages
            take_uncompressed(case)
    wrong = list(CASES)
    # Some cases wait for a second: what goes wrong on a busy machine is tried again, alone.
    for concurrency in [4, 1, 1, 1]:
        wrong = [case for case in await run(address, wrong, concurrency) if not is_right(case)]
        if not wrong:
            break
        for case in wrong:
            print(case.case_id, case.behavior.value, case.behavior_close.value, case.result, case.result_close)
        wrong = [case.case_id for case in wrong]
    if wrong:
        sys.exit("these fail whenever they are tried: " + " ".join(wrong))
    print(f"all {len(CASES)} cases pass", flush=True)
    # kosoku's threads call Python once more while the interpreter shuts down, and then abort it (status 134), after all has passed. So it
    # is not shut down.
    os._exit(0)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
