"""Every test runs under the smoke profile, also the kernels that nbval starts."""

import os

os.environ.setdefault("GENCOURSE_PROFILE", "smoke")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
os.environ.pop("GENCOURSE_FRAMES", None)
