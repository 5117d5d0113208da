"""Repositories that are Python environments, made by environment.py.

python_environment   the Python of every py_binary and py_test, as a toolchain
interop_environment  another TensorFlow's Python, for tests that ask for it
"""

_PYTHONS = ["python3", "python3.11", "python3.10", "python3.9"]

_VARIABLES = [
    "ESTIMATOR_CKPT_PYTHON37",
    "ESTIMATOR_CKPT_PYTHON38",
    "ESTIMATOR_CKPT_PYTHON39",
    "ESTIMATOR_CKPT_PYTHON310",
    "ESTIMATOR_CKPT_PYTHON311",
    "ESTIMATOR_CKPT_PYTHON312",
    "ESTIMATOR_CKPT_PYTHON313",
]

_NO_PYTHON = 3

_RUNTIME_BUILD = """\
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

package(default_visibility = ["//visibility:public"])

py_runtime(
    name = "runtime",
    interpreter = "python.sh",
    python_version = "PY3",
    stub_shebang = "#!%s",
)

py_runtime_pair(
    name = "runtime_pair",
    py2_runtime = None,
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtime_pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

# The environment's files are no inputs of any action: they are too many. This
# script is, so it says what they are: other contents, other results.
_RUNTIME_SCRIPT = """\
#!/bin/sh
# %s, lock file %s
exec '%s' "$@"
"""

_DESCRIBE = """\
import hashlib, os, sys
print(sys.version.split()[0])
print(os.path.realpath(sys.executable))
print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())
"""

def _ask(ctx):
    """Runs environment.py with the first python3 that is able to.

    Returns:
      Its exit code, 0 or 3, and the path of an interpreter or why there is none.
    """
    program = ctx.path(ctx.attr._program)
    ctx.path(ctx.attr.lock)  # a new lock file makes a new environment
    tried = []
    for name in _PYTHONS:
        python = ctx.which(name)
        if python and ctx.execute([python, "-c", "import sys; sys.exit(sys.version_info < (3, 7))"]).return_code == 0:
            # Not quiet: it says how much it fetches, and how far it is.
            result = ctx.execute(
                [python, program, ctx.attr.environment, "--answer", "answer.txt"],
                timeout = 3600,
                # The answer itself is wanted, not the one that a test would get.
                environment = {"ESTIMATOR_CKPT_ENVIRONMENTS": "", "PYTHONPATH": "", "PYTHONHOME": ""},
                quiet = False,
            )
            if not ctx.path("answer.txt").exists:
                fail("\n" + result.stderr)
            text = ctx.read("answer.txt").split("\n", 1)[1].strip()
            if result.return_code not in [0, _NO_PYTHON]:
                fail("\n" + text)
            return result.return_code, text
        tried.append("%s: %s" % (name, "does not run" if python else "not found"))
    fail("\nA Python 3 is needed to make the pinned environment:\n  " + "\n  ".join(tried))

def _python_environment_impl(ctx):
    ctx.report_progress("making the environment (only at first, and after a change of its packages)")
    code, python = _ask(ctx)
    if code != 0:
        fail("\n" + python)
    facts = ctx.execute([python, "-I", "-c", _DESCRIBE, str(ctx.path(ctx.attr.lock))])
    if facts.return_code != 0:
        fail(facts.stderr)
    version, base, digest = facts.stdout.strip().split("\n")

    # Bazel starts every Python program with a script of its own, in the Python that
    # its first line names: Debian has no `python`, and a `python3` that is found on
    # the PATH can be a pyenv shim for a version that is not there.
    shebang = base if len(base) < 100 and " " not in base else "/usr/bin/env python3"
    ctx.file("BUILD", _RUNTIME_BUILD % shebang)
    ctx.file("python.sh", _RUNTIME_SCRIPT % ("Python " + version, digest, python), executable = True)

_ATTRIBUTES = {
    "environment": attr.string(mandatory = True, doc = "Its name in environment.py."),
    "lock": attr.label(allow_single_file = True, mandatory = True),
    "_program": attr.label(default = "//third_party/python:environment.py", allow_single_file = True),
}

_CACHE = ["ESTIMATOR_CKPT_CACHE", "XDG_CACHE_HOME"]

python_environment = repository_rule(
    implementation = _python_environment_impl,
    attrs = _ATTRIBUTES,
    environ = _VARIABLES + _CACHE,
    # Asked again whenever Bazel starts: the cache may have been emptied since.
    local = True,
    doc = "Makes @NAME//:toolchain, whose Python has exactly the locked packages.",
)

def _interop_environment_impl(ctx):
    ctx.report_progress("making the environment (only at first, and after a change of its packages)")
    _ask(ctx)
    ctx.file("BUILD", 'exports_files(["answer.txt"])\n')

interop_environment = repository_rule(
    implementation = _interop_environment_impl,
    attrs = _ATTRIBUTES,
    environ = _VARIABLES + _CACHE,
    # Asked again whenever Bazel starts: a Python may have been installed since.
    local = True,
    doc = "Makes @NAME//:answer.txt: an exit code, then an interpreter or why there is none.",
)
