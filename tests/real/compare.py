"""compare.py BARE ZYG MIN: whether two JUnit reports of one suite show the same tests passing."""

import sys
import xml.etree.ElementTree as xml


def read(path):
    """The names of the tests that passed, that passed only after a retry, and that failed."""
    passed, flaky, failed = set(), set(), set()
    for suite in xml.parse(path).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{suite.get('name')} {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                failed.add(name)
            elif case.find("skipped") is None:
                passed.add(name)
                if case.find("flakyFailure") is not None or case.find("flakyError") is not None:
                    flaky.add(name)
    return passed, flaky, failed


def main():
    bare_path, zyg_path, least = sys.argv[1:]
    bare, bare_flaky, bare_failed = read(bare_path)
    zyg, zyg_flaky, zyg_failed = read(zyg_path)
    for way, flaky, failed in (
        ("bare", bare_flaky, bare_failed),
        ("zyg", zyg_flaky, zyg_failed),
    ):
        for name in sorted(flaky):
            print(f"{way}: passed after a retry: {name}")
        for name in sorted(failed):
            print(f"{way}: failed: {name}")
    for name in sorted(bare - zyg):
        print(f"passes bare and not in zyg: {name}")
    for name in sorted(zyg - bare):
        print(f"passes in zyg and not bare: {name}")
    print(f"{len(bare)} tests pass bare, {len(zyg)} in zyg, {len(bare & zyg)} in both")
    if len(bare) < int(least):
        sys.exit(f"fewer than {least} tests pass bare: nothing is shown")
    if bare != zyg:
        sys.exit("not the same tests pass")


main()
