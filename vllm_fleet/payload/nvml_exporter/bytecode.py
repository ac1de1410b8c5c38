"""Imports a module that another process has compiled: the compiler's memory is then never this process's.

A zip file keeps no bytecode, so nvidia-ml-py is compiled at each start: 13 MiB, of which malloc_trim(3) gives 9 back
(Python 3.11).
"""

from __future__ import annotations

import marshal
import subprocess
import sys
import types

_COMPILE = """
import marshal, sys, zipimport
sys.stdout.buffer.write(marshal.dumps(zipimport.zipimporter(sys.argv[1]).get_code(sys.argv[2])))
"""


def load(archive: str, name: str) -> None:
    """Put a module of a zip file where `import` finds it. Raises CalledProcessError when it is not there."""
    compiling = [sys.executable, "-I", "-c", _COMPILE, archive, name]
    code = marshal.loads(subprocess.run(compiling, stdout=subprocess.PIPE, check=True).stdout)
    module = sys.modules[name] = types.ModuleType(name)
    exec(code, module.__dict__)  # as `import` does
