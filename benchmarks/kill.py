"""A job is killed at a random moment, then the same command is run again: it must end with the same bytes, each time.

python benchmarks/kill.py --kills 40

One job of many units, real processes, SIGKILL. Every kill hits a fresh run of it, at a moment drawn evenly from the
time it takes; what had been reached is read from the folder that the killed process left. Then one more run is killed
again and again, within a third of that time, until it has finished.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from jobfiles import digest, make_shots
from killing import Killer

from patchvsr.jobs.folder import JobFolder

SHOTS = (57, 2, 41, 33, 1, 26)


def reached(target: Path) -> str:
    """How far a killed run had come, by the files it left."""
    folder = JobFolder(target)
    if target.exists():
        return "output published"
    if folder.read_result() is not None:
        return "result written"
    if list(folder.path.glob("output.*")):
        return "assembling"
    manifest = folder.read_manifest()
    if manifest is None:
        return "before the manifest"
    units = manifest.units()
    thirds = 3 * sum(folder.is_done(unit.number) for unit in units) // (len(units) + 1)
    return ("first third", "second third", "last third")[thirds] + f" of {len(units)} units"


def main() -> int:
    """Kill, compare, print a table; 1 if any output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    moments, killer, states, equal = random.Random(args.seed), Killer(), Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_shots(folder / "in.mkv", SHOTS)
        killer.run(source, folder / "warm" / "out.mkv")  # the first process starts slowly
        seconds = killer.run(source, folder / "whole" / "out.mkv")
        whole = digest(folder / "whole" / "out.mkv")
        while states.total() < args.kills:
            target = folder / f"killed {states.total()}" / "out.mkv"
            if not killer.kill_after(moments.uniform(0, seconds), source, target):
                continue  # it was faster this time: no kill
            states[reached(target)] += 1
            killer.run(source, target)
            equal += digest(target) == whole
        lives, target = 1, folder / "again and again" / "out.mkv"
        while killer.kill_after(moments.uniform(0, seconds / 3), source, target):
            lives += 1
        again = digest(target) == whole
    print(f"one job: {sum(SHOTS)} frames, {seconds:.1f} s without a kill\n")
    print("| killed when it had reached | kills |\n|---|---|")
    for state, count in sorted(states.items()):
        print(f"| {state} | {count} |")
    print(f"\n{equal} of {states.total()} killed runs ended with the same bytes; one of {lives} lives: {again}")
    return not (again and equal == states.total())


if __name__ == "__main__":
    sys.exit(main())
