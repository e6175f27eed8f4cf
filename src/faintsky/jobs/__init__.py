"""The public functions, each of which does a whole job: open, plan, work, write, report.

They import what they need only when called, because the command line is made from their signatures and must
load quickly.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.jobs.demonstration import DemoResult, demo
    from faintsky.jobs.finding import denoise, detect
    from faintsky.jobs.injection import InjectResult, inject
    from faintsky.jobs.result import Result
    from faintsky.jobs.training import TrainResult, TuneResult, train, tune

lazy(__name__)
