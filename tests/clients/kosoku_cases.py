"""Drives a server that sends every message back with Autobahn's cases.

Arguments: the server's address, and how many messages each case of compression sends. The whole suite sends 1,000 of up to 128 KiB in
each of 216 cases, which takes an hour.
"""

import asyncio
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


async def main(address, messages):
    for case in CASES.values():
        if hasattr(case, "TESTDATA"):
            case.COUNT = messages
            take_uncompressed(case)
    try:
        results = await run_fuzzingclient(address, concurrency=4)
    except FailureError as failure:
        for case in failure.results:
            print(case.case_id, case.behavior.value, case.behavior_close.value, case.result, case.result_close)
        sys.exit(1)
    behaviors = {"OK", "INFORMATIONAL"}
    odd = [case.case_id for case in results if case.behavior.value not in behaviors]
    if odd:
        print("neither right nor undefined:", *odd)
        sys.exit(1)
    print(len(results), "cases")


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
