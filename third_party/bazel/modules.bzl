"""One target a module, and which half of the package it belongs to.

files_module        works on files: never depends on TensorFlow
tensorflow_module   works on graphs and sessions; may depend on either half
package_library     a package's __init__.py, with all the modules above it

A module's target stands below those of the modules that it imports. Between packages
`visibility` holds the halves apart; within one Bazel does not look at visibility, and
`files_module` refuses a dependency on the other half itself.
"""

# The packages that have no module of the TensorFlow half.
_FILES_PACKAGES = [
    "//estimator_ckpt/bundle",
    "//estimator_ckpt/cli",
    "//estimator_ckpt/optimizers",
    "//estimator_ckpt/verify",
]

# Of these, which have both, other packages see what the BUILD files let them see.
_MIXED_PACKAGES = [
    "//estimator_ckpt",
    "//estimator_ckpt/keras",
    "//estimator_ckpt/warm_start",
]

_FILES = "files_half"
_TENSORFLOW = "tensorflow_half"

def _check_local(name, dep, half):
    """Fails unless `dep`, a `:label`, is above, and of a half that `name` may use."""
    target = native.existing_rule(dep[1:])
    if target == None:
        fail("%s: its dependency %s has to stand above it" % (name, dep))
    if half == _FILES and _FILES not in target["tags"]:
        fail(("%s: a files_module does not depend on TensorFlow, and %s does; " +
              "move what they share into a files_module") % (name, dep))

def _check(name, dep, half):
    if dep.startswith(":"):
        _check_local(name, dep, half)
    elif half == _FILES and dep.split(":")[0] not in _FILES_PACKAGES + _MIXED_PACKAGES:
        fail("%s: a files_module does not depend on %s" % (name, dep))
    elif dep in ["//estimator_ckpt", "//estimator_ckpt:estimator_ckpt"]:
        fail("%s: a module depends on modules, not on the whole of estimator_ckpt" % name)

def _module(name, half, deps, **kwargs):
    for dep in deps:
        _check(name, dep, half)
    native.py_library(
        name = name,
        srcs = [name + ".py"],
        tags = [half],
        deps = deps,
        **kwargs
    )

def files_module(name, deps = [], **kwargs):
    """The py_library of `name`.py, a module that works on files.

    Args:
      name: the module's name in this package.
      deps: labels of the modules that it imports: `:name` within the package.
      **kwargs: for the py_library, such as visibility.
    """
    _module(name, _FILES, deps, **kwargs)

def tensorflow_module(name, deps = [], **kwargs):
    """The py_library of `name`.py, a module that works on graphs and sessions.

    Args:
      name: the module's name in this package.
      deps: labels of the modules that it imports: `:name` within the package.
      **kwargs: for the py_library, such as visibility.
    """
    _module(name, _TENSORFLOW, deps, **kwargs)

def package_library(name, deps = [], **kwargs):
    """The py_library of a package: its `__init__.py`, and all modules above.

    And `sources`, its files, for the test that compares them with its BUILD file.

    Args:
      name: the target's name, by convention the package's.
      deps: what else belongs to it.
      **kwargs: for the py_library, such as visibility.
    """
    modules = [
        ":" + module
        for module, rule in native.existing_rules().items()
        if _FILES in rule["tags"] or _TENSORFLOW in rule["tags"]
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
