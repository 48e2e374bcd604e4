"""Run tests as `python -m` (or as a script), and write how each ended, for those whose runner cannot write JUnit's XML.

python outcomes.py REPORT MODULE|SCRIPT.py ...
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
import unittest
from xml.etree import ElementTree as ET

ENDINGS = {
    "addSuccess": "",
    "addError": "error",
    "addFailure": "failure",
    "addSkip": "skipped",
    "addExpectedFailure": "",
    "addUnexpectedSuccess": "failure",
}


def main() -> None:
    report, program, *arguments = sys.argv[1:]
    sys.argv = [program, *arguments]
    sys.path[0] = os.getcwd()
    root = ET.Element("testsuite")
    if program not in {"pytest", "test"}:  # those write it themselves
        record(root)
    ran_in = os.getpid()
    if os.environ.pop("UPSTREAM_WARM", ""):
        logging.getLogger("highlight-upstream").error("the tests are about to be run")
    try:
        if program.endswith(".py"):
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    finally:
        if os.getpid() == ran_in:
            if len(root):
                ET.ElementTree(root).write(report)
            # Not every suite makes the agent send something; after this one, it has something to show.
            logging.disable(logging.NOTSET)
            logging.getLogger("highlight-upstream").error("the tests have been run")


def record(root: ET.Element) -> None:
    """Note the outcomes of unittest's tests, whatever the class of their results."""

    def note(test: object, tag: str) -> None:
        case = ET.SubElement(root, "testcase", name=test.id() if isinstance(test, unittest.TestCase) else str(test))
        if tag:
            ET.SubElement(case, tag)

    def noting(method, tag):
        def add(self, test, *arguments):
            note(test, tag)
            return method(self, test, *arguments)

        return add

    def noting_subtests(method):
        def add(self, test, subtest, error):
            if error is not None:
                note(test, "failure" if issubclass(error[0], test.failureException) else "error")
            return method(self, test, subtest, error)

        return add

    for name, tag in ENDINGS.items():
        setattr(unittest.TestResult, name, noting(getattr(unittest.TestResult, name), tag))
    unittest.TestResult.addSubTest = noting_subtests(unittest.TestResult.addSubTest)


if __name__ == "__main__":
    main()
