"""Kill a job at random moments and run the same command again; the output must be the same bytes each time.

python benchmarks/kill.py --kills 40

Uses real processes and SIGKILL on a job of many units. Each kill hits a fresh run, at a moment drawn uniformly from
its duration; its progress is read from the folder it left behind. Finally, one more run is killed repeatedly, each time
within a third of that duration, until it finishes.
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
    """Return the progress of a killed run, judged by the files it left."""
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
    """Kill, compare and print a table; return 1 if any output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
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
                continue  # it finished before the kill
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
