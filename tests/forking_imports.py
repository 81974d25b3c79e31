"""What every process of `forking` has: imported before it is forked."""

import gc

import economy  # noqa: F401

# isort: split
import toy  # noqa: F401

import patchvsr.cli.main
import patchvsr.jobs.folder
import patchvsr.loading
import patchvsr.training.build
import patchvsr.training.trainer
import patchvsr.training.validation
import patchvsr.upscale  # noqa: F401

gc.freeze()  # else each process would search all of this for garbage, and so have its own copy of it
