"""Python files that are no part of a package, as modules."""

import importlib.util


def module_at(path):
    """Runs a file as a module, not as a command."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
