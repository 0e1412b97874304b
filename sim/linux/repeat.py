"""What makes a guest's process repeat itself: addresses and random octets of the host."""

import hashlib
import platform
import shutil
import subprocess

from sim.build import BUILD, BuildError

__all__ = ["steady"]

# The guest's kernel seeds its own generator from the host's; the same seed each time.
_SOURCE = """
#include <string.h>
#include <sys/types.h>

ssize_t getrandom(void *octets, size_t count, unsigned flags) {
    (void)flags;
    memset(octets, 0x5a, count);
    return count;
}
"""


def steady():
    """``(words before the command, environment)`` of a process that repeats."""
    folder = BUILD / "guest"
    library = folder / f"steady-{hashlib.sha256(_SOURCE.encode()).hexdigest()[:12]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        source = library.with_suffix(".c")
        source.write_text(_SOURCE)
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise BuildError("a C compiler must be installed (apt install gcc)")
        done = subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", str(library),
                               str(source)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{compiler} failed: {done.stderr}")
    before = ["setarch", platform.machine(), "-R"] if shutil.which("setarch") else []
    return before, {"LD_PRELOAD": str(library)}
