"""The command line as a person uses it: words in, exit code, output and one line of error out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from typer.testing import CliRunner

from gateway.cli import app

if TYPE_CHECKING:
    from pathlib import Path


class Shell:
    """Runs `kks` in this process, on the database and folder that the environment names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = CliRunner()

    def run(self, *words: str, typed: str | None = None) -> tuple[int, str, str]:
        """Exit code, standard output and standard error. A bug keeps its traceback."""
        done = self._runner.invoke(app, list(words), input=typed)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The JSON object that stands in the last line."""
        got, out, err = self.run(*words, "--json")
        assert (code, "") == (got, err if code == 0 else ""), err
        value = json.loads(out.splitlines()[-1])
        assert isinstance(value, dict)
        return value

    def text(self, *words: str) -> str:
        """What a person reads."""
        code, out, err = self.run(*words)
        assert (0, "") == (code, err)
        return out

    def refused(self, *words: str, typed: str | None = None) -> str:
        """The one line of a refusal; exit 1, nothing on standard output but prompts."""
        code, _out, err = self.run(*words, typed=typed)
        lines = [line for line in err.splitlines() if line.startswith("kks: ")]
        assert (1, 1) == (code, len(lines)), err
        assert "Traceback" not in err
        return lines[0].removeprefix("kks: ")

    def usage(self, *words: str) -> str:
        """What is said of a wrong use; exit 2."""
        code, _out, err = self.run(*words)
        assert 2 == code
        assert "Traceback" not in err
        return err
