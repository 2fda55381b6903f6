"""Drawing the map of what a configuration would train, and finding its largest stable rate."""

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from torchmlp._runtime.atomic_file import write_atomically
from torchmlp.cli.commands.map import MapOptions
from torchmlp.cli.errors import UsageError
from torchmlp.cli.exit_codes import DONE, FAILED, INTERRUPTED, SICK
from torchmlp.cli.running import adapters as configured
from torchmlp.cli.running.output import say
from torchmlp.figures.save import save
from torchmlp.figures.stability.lr_curve import rate_figure
from torchmlp.figures.stability.stability_map import map_figure
from torchmlp.lightning.run_folder import LOGS
from torchmlp.stability.executors import pool, ray
from torchmlp.stability.executors.errors import ExecutorError
from torchmlp.stability.lr_finder.finder import find_for
from torchmlp.stability.map.cell import Cell, CellResult
from torchmlp.stability.map.config import MapConfig
from torchmlp.stability.map.data import MapData
from torchmlp.stability.map.grid import Grid, parse_rates
from torchmlp.stability.map.schedule import estimate_work, plan, split
from torchmlp.stability.map.store import Results, ResultsError
from torchmlp.stability.map.task import CellError, Task, tasks_of
from torchmlp.stability.summary.advice import advice
from torchmlp.stability.summary.text_table import table
from torchmlp.stability.system_memory import available_memory

ENGINES = {"pool": pool.run, "ray": ray.run}
CURVE = "learning_rate"
LINES = 10  # of progress, where there is no terminal to draw a bar in


def draw_map(cli: Any, options: MapOptions) -> int:
    """Train every combination that has not been trained yet, and say what came of them.

    Returns:
        0; 1 where an engine or the disk failed, 130 where somebody interrupted, 143 on SIGTERM.
    """
    own, config = configured.cell(cli), configured.config(cli, options.steps)
    grid = grid_of(options, own)
    samples = configured.samples(cli)
    settings = {**asdict(config), "data": getattr(cli.datamodule, "title", "")}
    settings["samples"] = len(samples.inputs)
    try:
        results = Results(options.output or Path(LOGS) / "map", settings)
    except ResultsError as error:
        raise UsageError(str(error)) from error
    with results:
        if results.dropped:
            say(results.dropped)
        left_out = ", ".join(configured.left_out(cli))
        code = _train(results, grid, config, samples, options, left_out)
        if code == DONE:
            _report([results.finished[cell] for cell in grid.cells()], own, config, results.folder)
    return code


def grid_of(options: MapOptions, own: Cell) -> Grid:
    """The cells that are asked for; depth, init and seed are the run's own by default."""
    given: dict[str, Any] = {
        name: values
        for name in ("widths", "batch_sizes", "depths", "inits", "seeds")
        if (values := getattr(options, name))
    }
    if options.lrs:
        given["lrs"] = tuple(parse_rates(options.lrs))
    default = {"depths": (own.depth,), "inits": (own.init,), "seeds": (own.seed,)}
    return Grid(**{**default, **given})


def _train(
    results: Results,
    grid: Grid,
    config: MapConfig,
    samples: MapData,
    options: MapOptions,
    left_out: str,
) -> int:
    """Train the cells that are not finished, and keep each that is; the exit code."""
    cells = [cell for cell in grid.cells() if cell not in results.finished]
    if len(cells) < len(grid):
        say(f"{len(grid) - len(cells)} of {len(grid)} cells are in {results.path} already")
    if not cells:
        return DONE
    memory = int(options.memory * 1e9) if options.memory else available_memory() // 2
    tasks = split(tasks_of(cells), config, samples, memory=memory, workers=options.workers)
    config.module(cells[0])  # refuses what no map can be drawn of
    say(
        plan(tasks, config, samples, workers=options.workers)
        + f", without {left_out}" * bool(left_out)
    )
    finished = ENGINES[options.engine](tasks, config, samples, options.workers)
    try:
        for some in _shown(finished, tasks, config, samples):
            for result in some:
                results.add(result)
    except KeyboardInterrupt as error:
        code, why = INTERRUPTED, str(error) or "interrupted"
    except (CellError, ExecutorError, ResultsError) as error:
        code, why = FAILED, f"error: {error}"
    else:
        return DONE
    kept = sum(cell in results.finished for cell in grid.cells())
    sys.stderr.write(
        f"{why}\n{kept} of {len(grid)} cells are kept in {results.path}; the same command goes on "
        f"from there\n"
    )
    return code


def _shown(
    finished: Iterator[list[CellResult]], tasks: list[Task], config: MapConfig, samples: MapData
) -> Iterator[list[CellResult]]:
    """The same, with how far it is and how long it will take: a bar, or lines where none fits."""
    work = {
        cell: estimate_work(task, config, samples) / len(task.cells)
        for task in tasks
        for cell in task.cells
    }
    total, cells = sum(work.values()), len(work)
    console = Console()
    began, done, count, lines = time.monotonic(), 0.0, 0, 0
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        shown = bar.add_task(f"0 of {cells} cells", total=total)
        for results in finished:
            yield results
            count += len(results)
            done += sum(work[result.cell] for result in results)
            left = (time.monotonic() - began) * (total - done) / done
            words = f"{count} of {cells} cells, {_duration(left)} left"
            bar.update(shown, completed=done, description=words)
            if not console.is_terminal and count * LINES // cells > lines:
                lines = count * LINES // cells
                say(words)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _report(results: list[CellResult], own: Cell, config: MapConfig, folder: Path) -> None:
    say(table(results, shutil.get_terminal_size().columns))
    settings = (config.optimizer or {}).get("init_args", {})
    momentum, nesterov = settings.get("momentum", 0.0), settings.get("nesterov", False)
    kinds = sorted({(r.cell.batch_size, r.cell.depth, r.cell.init) for r in results})
    several = len({kind[1:] for kind in kinds}) > 1
    for batch_size, depth, init in kinds:
        figure = map_figure(
            results,
            batch_size,
            depth=depth,
            init=init,
            own=own,
            momentum=momentum,
            nesterov=nesterov,
        )
        stem = f"batch_{batch_size}" + f"_depth_{depth}_{init}" * several
        save(figure, folder, stem)
    say(advice(results, own))
    figures = sorted(path.name for path in folder.glob("*.png"))
    say(f"map {folder} (cells.jsonl, {', '.join(figures)} and .svg)")


def find_rate(cli: Any, options: MapOptions) -> int:
    """Find the largest stable rate of the configured run, and draw the curve.

    Returns:
        0, or 3 where no rate is stable.
    """
    found = find_for(configured.run(cli, options.steps), steps=options.steps)
    folder = options.output or Path(LOGS) / "map"
    folder.mkdir(parents=True, exist_ok=True)
    save(rate_figure(found), folder, CURVE)
    write_atomically(folder / f"{CURVE}.json", found.to_json() + "\n")
    say(str(found))
    say(f"curve {folder} ({CURVE}.json, {CURVE}.png and .svg)")
    return DONE if found.largest else SICK
