"""Stand-ins for what Bazel 4 would download to run any Python test.

Debian's Bazel comes without these repositories, and a Python test loads them without
using them. From Bazel 5 on they are left to Bazel.
"""

def _files_impl(ctx):
    ctx.file("WORKSPACE", "")
    for path, content in ctx.attr.files.items():
        ctx.file(path, content, executable = path.endswith(".sh"))

_files = repository_rule(
    implementation = _files_impl,
    attrs = {"files": attr.string_dict()},
)

_CC_RULES = [
    "cc_binary",
    "cc_import",
    "cc_library",
    "cc_test",
    "cc_toolchain",
    "cc_toolchain_suite",
    "objc_library",
]

_JAVA_RULES = [
    "java_binary",
    "java_import",
    "java_library",
    "java_runtime",
    "java_test",
    "java_toolchain",
]

_COVERAGE_BUILD = """\
package(default_visibility = ["//visibility:public"])

[sh_binary(name = name, srcs = ["unavailable.sh"]) for name in [
    "coverage_report_generator",
    "lcov_merger",
]]
"""

def _native(rules):
    return "".join(["%s = native.%s\n" % (rule, rule) for rule in rules])

def offline_repositories():
    """Declares the stand-ins, where Bazel is of version 4."""
    version = native.bazel_version or "no_version"  # Debian's says no version
    if version != "no_version" and not version.startswith("4."):
        return
    _files(
        name = "rules_cc",
        files = {"BUILD": "", "cc/BUILD": "", "cc/defs.bzl": _native(_CC_RULES)},
    )
    _files(
        name = "rules_java",
        files = {"BUILD": "", "java/BUILD": "", "java/defs.bzl": _native(_JAVA_RULES)},
    )
    _files(
        name = "remote_coverage_tools",
        files = {
            "BUILD": _COVERAGE_BUILD,
            "unavailable.sh": "#!/bin/sh\necho 'coverage is not set up' >&2\nexit 1\n",
        },
    )
