"""The subcommands of `estimator-ckpt`: each module here is one, called as it is typed."""
