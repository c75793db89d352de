"""Builds a cell on loopback, breaks it in every way that docs/ha.md names, and judges what clients saw.

The targets are times, so these tests measure time, unlike all others. A time that is missed on a busy machine is reported
apart from what must never happen, and with `--report-times` is no failure: CI has no machine of its own.

Nothing waits for ever: each wait fails when its time is over, and `--minutes` ends everything."""

import argparse
import shutil
import signal
import subprocess
import sys
import time

from cell import Cell
from faults import CUT_OFF, FAULTS
from judge import judge
from load import Load
from place import FOLDER, ROOT, address
from process import wait_for
from record import Record
from watchers import Auditor, Follower

QUIET_SECONDS = 4


def main():
    options = arguments()
    end_in_order(options.minutes)
    faults = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    cell = Cell()
    try:
        faults = possible(faults, cell.no_networks)
        cell.start()
        trial = Trial(cell)
        verdicts = [(fault, trial.run(fault)) for _ in range(options.times) for fault in faults]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        cell.stop()
    print(table(verdicts))
    if any(has_failed(verdict, options.report_times) for _, verdict in verdicts):
        sys.exit(1)
    # Gigabytes, which only somebody who looks for a fault needs.
    shutil.rmtree(FOLDER / "data")


def end_in_order(minutes):
    """Whatever ends this process, the processes of the cell must not outlive it. These are no errors that a retry could catch."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"not done after {minutes} minutes (--minutes)"))
    signal.alarm(minutes * 60)


def possible(faults, no_networks):
    """The faults that can be tried on this machine. What is left out is said, and fails in CI."""
    if not no_networks or all(fault.name != CUT_OFF for fault in faults):
        return faults
    subprocess.run([ROOT / ".ci" / "skip", f"{CUT_OFF}: {no_networks}"], check=True)
    return [fault for fault in faults if fault.name != CUT_OFF]


def has_failed(verdict, times_are_reported):
    return bool(verdict.broken or (not times_are_reported and (verdict.late or verdict.refused)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", action="append", choices=names, help="this fault alone; may be given several times")
    parser.add_argument("--report-times", action="store_true",
                        help="times that are missed, and errors after the fault, are reported and are no failure")
    parser.add_argument("--minutes", type=int, default=20,
                        help="after this time the cell ends, and the test has failed; more are needed with --times")
    parser.add_argument("--times", type=int, default=1, help="how often each fault is tried")
    return parser.parse_args()


class Trial:
    """The faults come one after the other, to one cell with one history."""

    def __init__(self, cell):
        self.cell = cell
        self.key = cell.create_organization()
        self.record = Record()
        self.follower = Follower(address("api"), self.key, self.record)
        self.auditor = Auditor(address("api"), self.key)
        self.runs = 0

    def run(self, fault):
        """Breaks the cell under load, waits until it is whole, and judges."""
        print(f"{fault.title} …", flush=True)
        self.runs += 1
        self.record.begin_run()
        with Load(address("api"), self.key, self.record, self.runs):
            time.sleep(QUIET_SECONDS)
            began = time.monotonic()
            fault.inject(self.cell)
            wait_for("a whole cell", self.cell.is_whole, 120)
            whole = time.monotonic()
            time.sleep(QUIET_SECONDS)
        verdict = judge(fault, self.key, self.record, self.follower, self.auditor, began, whole)
        print(f"    {line(verdict)}", flush=True)
        for text in verdict.broken:
            print(f"    BROKEN: {text}", flush=True)
        for text in verdict.refused:
            print(f"    REFUSED: {text}", flush=True)
        return verdict


def line(verdict):
    late = ", LATE" if verdict.late else ""
    return (f"no write for {verdict.stands_still:.1f} s{late}; {verdict.acknowledged} writes acknowledged, {verdict.lost} "
            f"lost; {verdict.stale} stale reads; errors {dict(verdict.errors)}; {verdict.checkpoints} checkpoints verified")


def table(verdicts):
    """The table of docs/ha.md."""
    lines = ["| Fault | Writes stand still, s | Target, s | Errors | Acknowledged | Lost | Stale | Promises broken |",
             "|---|---|---:|---:|---:|---:|---:|---:|"]
    for fault in dict(verdicts):
        of_fault = [verdict for other, verdict in verdicts if other == fault]
        lines.append(f"| {' | '.join(cells(fault, of_fault))} |")
    return "\n".join(lines)


def cells(fault, verdicts):
    times = ", ".join(f"{verdict.stands_still:.1f}" for verdict in verdicts)
    target = "" if fault.seconds is None else str(fault.seconds)
    sums = [sum(sum(verdict.errors.values()) for verdict in verdicts), sum(verdict.acknowledged for verdict in verdicts),
            sum(verdict.lost for verdict in verdicts), sum(verdict.stale for verdict in verdicts),
            sum(len(verdict.broken) + len(verdict.refused) for verdict in verdicts)]
    return [fault.title, times, target, *(f"{number:,}" for number in sums)]


if __name__ == "__main__":
    main()
