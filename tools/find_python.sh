#!/bin/sh
# Prints an interpreter that the project supports, or nothing: the newest of those that
# it is tested with, else 3.14, and 3.11 last, which JAX 0.12 does not run on.
#
# Each candidate is run: a version manager's shim may be on PATH without the version
# being active, and Debian's python3 may lack ensurepip, without which no environment
# can be made. Interpreters that pyenv and uv keep off PATH are found too. A
# free-threaded build is passed over, since the dependencies have no wheels for it.
set -u

usable='
import ctypes, ensurepip, ssl, sys, sysconfig, venv, zlib
supported = (3, 11) <= sys.version_info < (3, 15)
if not supported or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
print(sys.executable)'

for version in 3.13 3.12 3.14 3.11 3; do
  for candidate in \
      "python$version" \
      "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version".*/bin/"python$version" \
      "${UV_PYTHON_INSTALL_DIR:-${HOME:-}/.local/share/uv/python}/cpython-$version".*/bin/"python$version"; do
    if found=$("$candidate" -c "$usable" 2>/dev/null); then
      echo "$found"
      exit
    fi
  done
done
