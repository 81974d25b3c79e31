"""Run the jobs of a batch: one after the other, and on a cluster as many at once as keep its workers busy."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from patchvsr.errors import PatchVSRError
from patchvsr.events import Event, Scanning, Stopped
from patchvsr.jobs.batch import Job
from patchvsr.jobs.work import Engine, Stop

TURN_S = 0.1  # for which a scan goes on before the workers have their turn


@dataclass(eq=False)
class Flight:
    """A job that was begun. steps: see `upscale_in_turns`. waits: whether it waits for workers."""

    job: Job
    steps: Generator[Event | None]
    waits: bool = False
    ended: bool = False

    def go_on(self) -> Iterator[Event | PatchVSRError | FloatingPointError]:
        """Yield what happens until the job waits for workers or ends. A scan stops after a while, for other jobs."""
        until, self.waits = time.monotonic() + TURN_S, False
        try:
            for event in self.steps:
                if event is None:
                    self.waits = True
                    return
                yield event
                if isinstance(event, Scanning) and time.monotonic() > until:
                    return
        except (PatchVSRError, FloatingPointError) as error:  # the second: a model produced NaN
            yield error
        self.ended = True


def run_jobs(
    jobs: Sequence[Job],
    begin: Callable[[Job], Generator[Event | None]],
    get_engine: Callable[[], Engine],
    stop: Stop,
) -> Generator[tuple[Job, Event | PatchVSRError | FloatingPointError]]:
    """Run the jobs; yield what happens, and to which of them. A job ends with an error or its last event.

    They begin in their order. Those in flight share the workers of a cluster, the oldest first, and the next one begins
    when they leave a worker without a unit to go on with. Without a cluster, one job is in flight at a time.

    begin: returns a job as `upscale_in_turns` does. stop: no job begins any more once it says so, or one was stopped.
    """
    waiting, flights = deque(jobs), list[Flight]()
    try:
        while True:
            # 1. Give the workers units. If they could take more, or if nothing is in flight, begin the next job.
            busy = any(flight.waits for flight in flights) and not get_engine().hand_out()
            if waiting and not busy and all(flight.waits for flight in flights):
                if stop(None):
                    waiting.clear()
                else:
                    job = waiting.popleft()
                    flights.append(Flight(job, begin(job)))
            if not flights:
                return
            # 2. Take what the workers have done. Wait for them if no job has anything else to do.
            if any(flight.waits for flight in flights):
                get_engine().take_answers(wait=all(flight.waits for flight in flights))
            # 3. Let every job go on until it waits for the workers.
            for flight in flights.copy():
                for event in flight.go_on():
                    yield flight.job, event
                    if isinstance(event, Stopped):
                        waiting.clear()  # they would end later still, and how long a first unit takes is unknown
                if flight.ended:
                    flights.remove(flight)
    finally:
        for flight in flights:
            flight.steps.close()
