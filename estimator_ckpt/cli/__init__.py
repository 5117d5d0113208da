"""The program `estimator-ckpt`: one module for each subcommand."""
