#!/usr/bin/env python3
"""failpoints_test.py FAULTS SHIPPED: a run is killed once at every place of a step, of a save and
of a resume, on every rank that comes there, each time begun again by the same command; what it comes
to equals the run that nobody touched. Errors at places of a save end no run: the next save replaces
what is lost. FAULTS has the failpoints (runtime/process/failpoint.h), SHIPPED must not.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import campaign  # noqa: E402
from campaign import harness  # noqa: E402

campaign.STEPS = 12
RANKS = 2
LAYOUT = (RANKS, {"zero_stage": 1}, "lora", 2)  # saves after every second step
KILLED = 137
# The rank of None: each. Resumes last, when there is a checkpoint.
PLACES = {"train.step": None, "train.told": None, "ckpt.staged": None, "ckpt.copied": None}
PLACES |= {"ckpt.shard": None, "ckpt.shard_written": None, "ckpt.all_written": None, "ckpt.commit": 0}
PLACES |= {"ckpt.committed": 0, "ckpt.retained": 0, "ckpt.saved": None}
PLACES |= {"resume.found": None, "resume.read": None}
ERRORS = [("ckpt.shard", 1), ("ckpt.shard_written", 0)]


def run_to_end(run, **variables):
    if campaign.end(run.start(**variables)) != 0:
        raise harness.Failure(f"{variables or 'started again'}: {run.log.read_text()[-800:]}")


def check_equal(run, straight):
    if run.metrics() != straight.metrics():
        raise harness.Failure("losses differ from the run that was left alone")
    if run.state() != straight.state():
        raise harness.Failure("state differs from the run that was left alone")


def kill_at(run, name, rank):
    told = run.told()
    code = campaign.end(run.start(FTTRAIN_FAULT=f"{name}:rank={rank}:kill"))
    if code != KILLED:
        raise harness.Failure(f"exit {code}, not killed: {run.log.read_text()[-800:]}")
    # A run that is killed before its first step says nothing of where it began.
    began = run.began_from()
    if began is not None and began < told:
        raise harness.Failure(f"told of step {told}, began from {began}")
    return f"began after step {began}, told of step {run.told()}"


def go_on(run, straight):
    told = run.told()
    run_to_end(run)
    if run.began_from() < told or told == 0:
        raise harness.Failure(f"told of step {told}, began from {run.began_from()}")
    check_equal(run, straight)
    return f"from step {run.began_from()} to the same end"


def fail_at(binary, scratch, straight, name, rank):
    run = campaign.Run(binary, Path(scratch) / "failed", *LAYOUT)
    run_to_end(run, FTTRAIN_FAULT=f"{name}:rank={rank}:at=2:error")
    if f"failpoint {name}" not in run.log.read_text():
        raise harness.Failure(f"the lost save is not told: {run.log.read_text()[-800:]}")
    if (run.out / "checkpoints/step-4").exists():
        raise harness.Failure("the save that failed is there")
    check_equal(run, straight)
    return "the save was lost, the run was not"


def main():
    binary, shipped = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    if b"FTTRAIN_FAULT" in shipped.read_bytes():
        sys.exit(f"{shipped} has failpoints")
    with harness.scratch_folder() as scratch:
        straight = campaign.Run(binary, Path(scratch) / "straight", *LAYOUT)
        run_to_end(straight)
        killed = campaign.Run(binary, Path(scratch) / "killed", *LAYOUT)
        checks = []
        for name, only in PLACES.items():
            for rank in range(RANKS) if only is None else [only]:
                checks.append((f"killed at {name} on rank {rank}", lambda n=name, r=rank: kill_at(killed, n, r)))
        checks.append(("and then left alone", lambda: go_on(killed, straight)))
        for name, rank in ERRORS:
            checks.append((f"error at {name} on rank {rank}", lambda n=name, r=rank: fail_at(binary, scratch, straight, n, r)))
        harness.run_checks(checks)


if __name__ == "__main__":
    main()
