"""The subcommands of `estimator-ckpt`: each module here is one, called as it is typed."""

# Asking the directory loads `pkgutil` and `inspect`, which takes longer than all of them.
NAMES = (
  "completion",
  "convert",
  "diff",
  "inspect",
  "ls",
  "make-map",
  "merge",
  "plan-warm-start",
  "rename",
  "strip",
  "verify",
  "view",
)
