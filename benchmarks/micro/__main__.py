"""python -m benchmarks.micro: time both sides, check the ratios, keep the results."""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import BenchmarkError, environment, results
from benchmarks.micro.check_ratio import check

TESTS = Path(__file__).parent
SECONDS, SHORT_SECONDS = 1.0, 0.1


def main() -> int:
    """Run all pairs; the exit code: 0 all ratios reached, 1 something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description="Compiled beside plain Python.")
    parser.add_argument("--short", action="store_true", help="a tenth of the time, to see that the ratios hold")
    is_short = parser.parse_args().short
    console = Console()
    try:
        document = _time(SHORT_SECONDS if is_short else SECONDS)
        results.write("micro-short" if is_short else "micro", document)
        return 0 if check(document, console) else 1
    except BenchmarkError as error:
        console.print(f"benchmarks: {error}", style="red", markup=False)
        return 1


def _time(seconds: float) -> dict[str, Any]:
    """The document of pytest-benchmark without what it says of the machine and without each single round."""
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as directory:
        document = Path(directory, "micro.json")
        options = ["--benchmark-disable-gc", "--benchmark-quiet", "-p", "no:cacheprovider"]
        arguments = [*options, f"--benchmark-json={document}", f"--side-seconds={seconds}", str(TESTS)]
        ended = subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False)
        if ended.returncode != 0:
            raise BenchmarkError(f"pytest ended with code {ended.returncode}")
        benchmarks = json.loads(document.read_text(encoding="utf-8"))["benchmarks"]
    for benchmark in benchmarks:
        del benchmark["params"], benchmark["stats"]["data"]
    return {"provenance": environment.provenance("python -m benchmarks.micro"), "benchmarks": benchmarks}


if __name__ == "__main__":
    sys.exit(main())
