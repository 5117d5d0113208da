"""One target a module, in rooms that use each other in one direction.

module            a module's py_library, with what it imports
package_library   a package's __init__.py, with all the modules above it

A module's target stands below those of the modules that it imports. `visibility` says
which rooms may use a room; `tests/packaging/rooms_test.py` holds the same of the imports.
"""

_MODULE = "module"

def module(name, deps = [], **kwargs):
    """The py_library of `name`.py.

    Args:
      name: the module's name in this package.
      deps: labels of the modules that it imports: `:name` within the package.
      **kwargs: for the py_library, such as visibility.
    """
    for dep in deps:
        if dep.startswith(":") and native.existing_rule(dep[1:]) == None:
            fail("%s: its dependency %s has to stand above it" % (name, dep))
        if dep in ["//estimator_ckpt", "//estimator_ckpt:estimator_ckpt"]:
            fail("%s: a module depends on modules, not on the whole of estimator_ckpt" % name)
    native.py_library(
        name = name,
        srcs = [name + ".py"],
        tags = [_MODULE],
        deps = deps,
        **kwargs
    )

def package_library(name, deps = [], **kwargs):
    """The py_library of a package: its `__init__.py`, and all modules above.

    And `sources`, its files, for the test that compares them with its BUILD file.

    Args:
      name: the target's name, by convention the package's.
      deps: what else belongs to it.
      **kwargs: for the py_library, such as visibility.
    """
    modules = [
        ":" + label
        for label, rule in native.existing_rules().items()
        if _MODULE in rule["tags"]
    ]
    native.filegroup(
        name = "sources",
        srcs = native.glob(["**/*.py"]) + ["BUILD"],
        visibility = ["//tests/packaging:__pkg__"],
    )
    native.py_library(
        name = name,
        # Where the __init__.py is a target, it is among the modules.
        srcs = [] if native.existing_rule("__init__") else ["__init__.py"],
        deps = modules + deps,
        **kwargs
    )
