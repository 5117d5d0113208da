from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from estimator_ckpt.cli import exit_statuses, main, parsers
from tests import golden

_ADAM = golden.path("tf1.15/adam_dense")


def _run(*argv):
  return main.run([*argv])


def test_help_names_every_command_with_one_line_each(capsys):
  assert _run("--help") == 0
  lines = capsys.readouterr().out.splitlines()
  for name in main.command_names():
    assert [line for line in lines if line.startswith(f"  {name} ")], name
  assert max(map(len, lines)) < 80


def test_without_a_command_help_is_shown_and_the_code_is_that_of_misuse(capsys):
  assert _run() == 2
  assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize("name", main.command_names())
def test_every_command_has_help_with_examples_that_fit(name, capsys, monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  assert _run(name, "--help") == 0
  text = capsys.readouterr().out
  assert f"  estimator-ckpt {name} " in text
  assert max(map(len, text.splitlines())) <= 80
  assert _run("help", name) == 0
  assert capsys.readouterr().out == text


@pytest.mark.parametrize("name", main.command_names())
def test_every_command_says_what_it_is(name):
  command = main.load_command(name)
  assert command.HELP.endswith(".") and "\n" not in command.HELP
  for line in command.EXAMPLES.strip().splitlines():
    assert line.startswith(f"estimator-ckpt {name} ")


@pytest.mark.parametrize("name", main.command_names())
def test_every_command_has_json_and_flags_with_underscores(name):
  flags = parsers.command_parser(main.load_command(name)).flags()
  assert "--json" in flags
  assert [flag for flag in flags if "-" in flag.lstrip("-")] == []


@pytest.mark.parametrize(
  "line",
  [
    example
    for name in main.command_names()
    for example in main.load_command(name).EXAMPLES.strip().splitlines()
  ],
)
def test_every_example_is_a_command_line_that_can_be_parsed(line):
  import shlex

  words = shlex.split(line.split(" | ")[0].split(" > ")[0])
  parsers.command_parser(main.load_command(words[1])).parse_args(words[2:])


def test_the_version_is_the_packages(capsys):
  import estimator_ckpt

  assert _run("--version") == 0
  assert capsys.readouterr().out == f"estimator-ckpt {estimator_ckpt.__version__}\n"


@pytest.mark.parametrize(
  ("argv", "message"),
  [
    (["verfy", "x"], "no command 'verfy'; did you mean 'verify'? There are: comp"),
    (["__init__", "x"], "no command '__init__'; There are: completion, convert, "),
    (["a.b", "x"], "no command 'a.b'; There are: completion, convert, "),
    (["--json", "x"], "--json stands before the command; a command's flags go behind"),
    (["inspect"], "the following arguments are required: PATH; see estimator-ckpt ins"),
    (["inspect", "x", "--jsn"], "no flag --jsn (did you mean --json?); see estimator-"),
    (["inspect", "x", "y"], "one argument too many, 'y'; see estimator-ckpt inspect -"),
    (["inspect", "x", "--sort=up"], "argument --sort: invalid choice: 'up' (choose fr"),
    (
      ["inspect", _ADAM, "--filter=("],
      "--filter=( is no regular expression: missing )",
    ),
    (
      ["diff", _ADAM, _ADAM, "--atol=-1", "--values"],
      "--atol=-1.0 and --rtol=0.0 have",
    ),
  ],
)
def test_a_command_line_that_cannot_be_meant_is_one_line_and_code_2(
  argv, message, capsys
):
  assert _run(*argv) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert err.startswith(f"estimator-ckpt: error: {message}")
  assert err.count("\n") == 1


@pytest.mark.parametrize(
  ("argv", "status"),
  [
    (["diff", _ADAM, _ADAM], 0),
    (["diff", _ADAM, golden.path("tf1.15/tables")], 1),
    (["diff", _ADAM, "typo"], 2),
    (["verify", _ADAM], 0),
    (["verify", "typo"], 2),
    (["inspect", "typo"], 2),
    (["convert", _ADAM, _ADAM, "--to=tf1"], 2),
  ],
)
def test_exit_statuses_say_yes_no_or_that_it_could_not_be_done(argv, status, capsys):
  assert _run(*argv) == status
  capsys.readouterr()
  assert _run(*argv, "-q") == status
  assert capsys.readouterr().out == ""


def test_damage_is_the_answer_of_verify_and_a_failure_elsewhere(tmp_path, capsys):
  prefix = golden.copy("tf1.15/adam_dense", tmp_path / "m")
  with open(f"{prefix}.index", "r+b") as index:
    data = bytearray(index.read())
    data[20] ^= 1
    index.seek(0)
    index.write(data)
  assert _run("verify", prefix) == 1
  assert _run("inspect", prefix) == 2
  assert _run("diff", prefix, prefix) == 2


def test_exit_statuses_are_in_every_help(capsys):
  for argv in (["--help"], ["diff", "--help"]):
    _run(*argv)
    assert exit_statuses.EXPLAINED in capsys.readouterr().out


def test_closed_standard_output_is_one_line(tmp_path):
  command = f"{sys.executable} -m estimator_ckpt inspect {_ADAM} >&-"
  done = subprocess.run(
    ["bash", "-c", command],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2
  assert done.stderr == (
    "estimator-ckpt: error: standard output is closed, so nothing can be shown\n"
  )


@pytest.mark.parametrize(
  ("argv", "words"),
  [
    (["strip", _ADAM, "out"], "ask for --optimizer_state, --moving_averages, or"),
    (
      ["rename", _ADAM, "out", "--name_map=net:net2"],
      "for all names in it write net/:net2/",
    ),
    (
      ["rename", _ADAM, "out", "--name_map=maps/no.txt"],
      "no file 'maps/no.txt' of rules",
    ),
    (
      ["convert", _ADAM, "--to=tf2"],
      "no destination; give it as the last path, or with -o",
    ),
    (["convert", _ADAM, "x", "-o", "y", "--to=tf2"], "two destinations"),
    (["merge", _ADAM, "-o", "y"], "merge needs two or more checkpoints"),
  ],
)
def test_messages_say_what_to_type(argv, words, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert _run(*argv) == 2
  assert words in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


def test_the_destination_may_be_a_flag(tmp_path, capsys):
  assert _run("convert", _ADAM, "-o", str(tmp_path / "a"), "--to=tf2") == 0
  assert (
    _run("merge", _ADAM, golden.path("tf1.15/tables"), "-o", str(tmp_path / "b")) == 0
  )
  assert _run("inspect", str(tmp_path / "b")) == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_commands_flags_and_paths(shell, capsys, tmp_path):
  shtab = pytest.importorskip("shtab")
  if shell not in shtab.SUPPORTED_SHELLS:
    pytest.skip(f"shtab {shtab.__version__} does not know {shell}")
  assert _run("completion", shell) == 0
  script = capsys.readouterr().out
  for word in ("inspect", "plan-warm-start", "optimizer_state"):
    assert word in script
  if shell == "bash":
    path = tmp_path / "script"
    path.write_text(script)
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_a_shtab_that_does_not_know_the_shell_is_named(capsys, monkeypatch):
  shtab = pytest.importorskip("shtab")

  def complete(parser, shell):
    raise NotImplementedError(f"shell ({shell}) must be in bash,zsh,tcsh")

  monkeypatch.setattr(shtab, "complete", complete)
  assert _run("completion", "fish") == 2
  error = capsys.readouterr().err
  assert f"shtab {shtab.__version__} writes no script for fish" in error


def test_flags_may_not_be_shortened(capsys):
  assert _run("inspect", _ADAM, "--val") == 2
  assert "no flag --val" in capsys.readouterr().err


def test_trouble_is_one_line_and_code_2(tmp_path, capsys):
  assert _run("inspect", str(tmp_path / "model.ckpt-7")) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert err.startswith("estimator-ckpt: error: ")
  assert "no checkpoint there" in err and err.count("\n") == 1


def test_a_path_cannot_move_the_cursor(tmp_path, capsys):
  assert _run("inspect", f"{tmp_path}/\x1b[2Jx") == 2
  assert "\x1b" not in capsys.readouterr().err


def test_hyphens_in_flags_are_understood():
  spelled = parsers._with_underscores(["--name-map=a-b:c-d", "x-y", "--", "--no-flag"])
  assert spelled == ["--name_map=a-b:c-d", "x-y", "--", "--no-flag"]


def test_a_double_hyphen_ends_the_flags(capsys):
  assert _run("inspect", "--", _ADAM) == 0
  assert _run("inspect", "--", "--json") == 2
  assert "--json: no checkpoint" in capsys.readouterr().err


def _child(code, **options):
  return subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(code)],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    **options,
  )


def test_a_reader_that_goes_away_is_no_error():
  child = subprocess.Popen(
    [sys.executable, "-m", "estimator_ckpt", "inspect", _ADAM],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  child.stdout.close()
  err = child.stderr.read()
  child.stderr.close()
  assert (child.wait(), err) == (141, b"")


def test_ctrl_c_is_one_line():
  child = _child(
    f"""
    import sys
    from estimator_ckpt.cli import main
    from estimator_ckpt.files import summary
    def wait(*unused):
      print("ready", flush=True)
      import time
      time.sleep(60)
    summary.inspect_checkpoint = wait
    sys.exit(main.run(["inspect", {_ADAM!r}]))
    """
  )
  assert child.stdout.readline() == b"ready\n"
  child.send_signal(signal.SIGINT)
  out, err = child.communicate()
  assert (child.returncode, out) == (130, b"")
  assert err == b"estimator-ckpt: error: interrupted\n"


def test_only_the_command_that_was_asked_for_is_imported():
  child = _child(
    f"""
    import sys
    from estimator_ckpt.cli import main
    main.run(["inspect", {_ADAM!r}])
    print(*sorted(n for n in sys.modules if n.startswith("estimator_ckpt.cli.")))
    print({{"numpy", "rich", "absl", "tensorflow"}} & {{*sys.modules}})
    """
  )
  out, err = child.communicate()
  assert err == b""
  *_, commands, libraries = out.decode().splitlines()
  assert commands.split() == [
    "estimator_ckpt.cli.commands",
    "estimator_ckpt.cli.commands.inspect",
    "estimator_ckpt.cli.exit_statuses",
    "estimator_ckpt.cli.main",
    "estimator_ckpt.cli.parsers",
    "estimator_ckpt.cli.terminal",
  ]
  assert libraries == "set()"


def test_help_loads_nothing_that_reads_checkpoints():
  child = _child(
    """
    import sys
    from estimator_ckpt.cli import main
    main.run(["--help"])
    rooms = {name.split(".")[1] for name in sys.modules if name[:15] == "estimator_ckpt."}
    print(*sorted(rooms), *sorted({"dataclasses", "numpy", "socket", "tqdm"} & {*sys.modules}))
    """
  )
  out, _ = child.communicate()
  # The facade loads bundle.remote, to hand it file systems.
  assert out.decode().splitlines()[-1] == "bundle cli errors text_table value_classes"


def test_the_program_runs_as_a_file_though_its_directory_has_a_keras():
  import estimator_ckpt

  program = os.path.join(os.path.dirname(estimator_ckpt.__file__), "__main__.py")
  done = subprocess.run(
    [sys.executable, program, "--version"], stdout=subprocess.PIPE, check=True
  )
  assert done.stdout.startswith(b"estimator-ckpt ")


def test_the_program_runs_as_a_file_in_a_tree_of_links(tmp_path):
  import estimator_ckpt

  package = os.path.dirname(estimator_ckpt.__file__)
  (tmp_path / "estimator_ckpt").mkdir()
  for name in os.listdir(package):
    os.symlink(os.path.join(package, name), tmp_path / "estimator_ckpt" / name)
  program = tmp_path / "estimator_ckpt" / "__main__.py"
  environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
  done = subprocess.run(
    [sys.executable, str(program), "--version"],
    cwd=str(tmp_path),
    env=environ,
    stdout=subprocess.PIPE,
    check=True,
  )
  assert done.stdout.startswith(b"estimator-ckpt ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_output_that_cannot_be_written_is_an_error_of_one_line(monkeypatch, capsys):
  with open("/dev/full", "w", encoding="utf-8") as full:
    monkeypatch.setattr(sys, "stdout", full)
    assert main.run(["inspect", _ADAM]) == 2
  assert capsys.readouterr().err == (
    "estimator-ckpt: error: the output cannot be written: No space left on device\n"
  )
