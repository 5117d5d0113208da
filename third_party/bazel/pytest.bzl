"""Bazel tests that pytest runs, one for each file of tests."""

# What a test of interop may ask environment.py for; WORKSPACE has a repository for each.
_ENVIRONMENTS = [
    "tf115",
    "tf204",
    "tf208",
    "tf211",
    "tf212",
    "tf221",
]

def pytest_test(name, srcs, deps = [], data = [], args = [], **kwargs):
    """One test, which is one process of pytest.

    Args:
      name: the target's name.
      srcs: the files of tests.
      deps: what it imports.
      data: what it reads.
      args: for pytest.
      **kwargs: for the py_test.
    """
    native.py_test(
        name = name,
        srcs = srcs + ["//third_party/bazel:pytest_main.py"],
        main = "//third_party/bazel:pytest_main.py",
        args = ["$(rootpath %s)" % src for src in srcs] + args,
        data = data + [
            "//:pyproject.toml",
            "//tests:conftest.py",
            "//third_party/python:environment.py",
        ],
        deps = deps,
        **kwargs
    )

def _tags(interop, full, quick):
    # An environment has to be made first: never quick.
    if interop:
        return ["interop", "full"] if full else ["interop"]
    if full:
        return ["full"]
    return ["quick"] if quick else []

def pytest_tests(
        deps = [],
        data = [],
        size = "medium",
        sizes = {},
        more_deps = {},
        interop = [],
        environments = _ENVIRONMENTS,
        each = {},
        full = [],
        quick = [],
        together = {},
        tags = [],
        args = []):
    """A test for every `*_test.py` of the package.

    Directories below that have no BUILD file of their own are part of the package, so
    no test is left out for the lack of a line in a BUILD file. Other Python files are
    what the tests share: within the package, and those of //tests everywhere.

    Args:
      deps: what the tests import.
      data: what they read.
      size: how long a test may take: small 1, medium 5, large 15, enormous 60 minutes.
      sizes: test name (without .py) -> its size, where it is another one.
      more_deps: test name -> what else this one imports.
      interop: names of the tests that start the Python of another environment.
      environments: the environments that these may ask for.
      each: test name (without .py) -> environments, or parts, that each get a target of
        their own, NAME_PART, which runs the cases that name it.
      full: names of the tests that run with --config=full only.
      quick: patterns of the files that take seconds, for --config=quick.
      together: directory -> how many processes run its files, those of `quick` left
        out. They import TensorFlow once for many files. Such a file still has a target
        of its own, for who names it; `//...` does not.
      tags: tags of all of them.
      args: for pytest.
    """
    tests = native.glob(["**/*_test.py"])
    quick = native.glob(quick)
    shared = ["//tests:shared"]
    if native.package_name() != "tests":
        shared.append(":shared")
        data = data + native.glob(["conftest.py"])
    native.py_library(
        name = "shared",
        testonly = True,
        srcs = native.glob(["**/*.py"], exclude = ["**/*_test.py", "conftest.py"]),
        visibility = ["//tests:__subpackages__"],
    )

    # The pages name files; //tests/docs sees whether they are there.
    native.filegroup(
        name = "all_files",
        srcs = native.glob(["**/*.py"]),
        visibility = ["//tests/docs:__pkg__"],
    )
    grouped = []
    for directory, count in together.items():
        files = [
            src
            for src in tests
            if src.startswith(directory + "/") and src not in quick
        ]
        grouped += files
        for number in range(count):
            pytest_test(
                name = "%s/tests_%d_of_%d" % (directory, number + 1, count),
                size = "enormous",
                srcs = files[number::count],
                args = args,
                data = data,
                tags = tags,
                deps = deps + shared,
            )
    for src in tests:
        name = src[:-len(".py")]
        answers = []
        if name in interop:
            answers = ["@%s//:answer.txt" % e for e in environments]
        runs = {name: []}
        if name in each:
            runs = {"%s_%s" % (name, e): ["-k", e] for e in each[name]}
        for target, choice in runs.items():
            pytest_test(
                name = target,
                size = sizes.get(name, size),
                srcs = [src],
                args = args + choice,
                data = data + answers,
                tags = tags + _tags(bool(answers), name in full, src in quick) +
                       (["manual"] if src in grouped else []),
                deps = deps + more_deps.get(name, []) + shared,
            )
    for name in sizes.keys() + more_deps.keys() + interop + full + each.keys():
        if name + ".py" not in tests:
            fail("%s is no test of //%s" % (name, native.package_name()))
        if name + ".py" in grouped:
            fail("%s runs with others, which has no options of its own" % name)
