"""A job that is killed again and again must end with the bytes of one that was not.

python benchmarks/kill.py --kills 40

Real processes and SIGKILL, at random moments of every phase. The first job has many units and takes most of the kills;
short ones follow until there were enough. A kill counts only if it hit a living process.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from jobfiles import digest, make_shots
from killing import LONGEST_WAIT_S, Killer

LONG, SHORT = (57, 2, 41, 33, 1, 26), (21, 2, 11)
LONG_PHASES = ["start", "scan", "start", "start", "scan", *["units", "start", "units"] * 6]
LAST_PHASES = ["assembling", "start", "assembling", "publishing", "publishing"]
SHORT_PHASES = ["start", "scan", "units", *LAST_PHASES]


def main() -> int:
    """Kill, compare, print a table; 1 if any output differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    killer, jobs, equal = Killer(args.seed), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while killer.kills.total() < args.kills:
            lengths, phases = (SHORT, SHORT_PHASES) if jobs else (LONG, LONG_PHASES + LAST_PHASES)
            source = make_shots(folder / f"{jobs}.mkv", lengths)
            output = f"{jobs}-out.mkv" if jobs % 2 == 0 else f"{jobs}-images"
            seconds = killer.run(source, folder / "whole" / output)
            phases = phases[: args.kills - killer.kills.total()]
            killer.run_killed(phases, source, folder / "killed" / output)
            same = digest(folder / "whole" / output) == digest(folder / "killed" / output)
            jobs, equal = jobs + 1, equal + same
            print(f"{output}: {sum(lengths)} frames, {seconds:.1f} s without a kill, same bytes: {same}", flush=True)
    print("\n| killed while | kills |\n|---|---|")
    for phase in LONGEST_WAIT_S:
        print(f"| {phase} | {killer.kills[phase]} |")
    print(f"| all | {killer.kills.total()} |\n\n{equal} of {jobs} outputs have the bytes of a job that was not killed")
    return equal != jobs


if __name__ == "__main__":
    sys.exit(main())
