"""Drawing the map of what a configuration would train, and finding its largest stable rate."""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from torchmlp._runtime.atomic_file import write_atomically
from torchmlp.cli.actions import adapters
from torchmlp.cli.terminal.errors import UsageError
from torchmlp.cli.terminal.exit_codes import DONE, FAILED, INTERRUPTED, SICK
from torchmlp.cli.terminal.streams import say
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
from torchmlp.stability.map.schedule import describe_plan, estimate_work, split_tasks
from torchmlp.stability.map.store import Results, ResultsError
from torchmlp.stability.map.task import CellError, Task, tasks_of
from torchmlp.stability.summary.advice import advice
from torchmlp.stability.summary.text_table import table
from torchmlp.stability.system_memory import available_memory

EXECUTORS = {"pool": pool.run, "ray": ray.run}
CURVE = "learning_rate"
LINES = 10  # of progress, where there is no terminal to draw a bar in


def draw_map(
    cli: Any,
    *,
    steps: int,
    output: Path | None,
    engine: str,
    workers: int | None,
    memory: float | None,
    **values: Sequence[Any],
) -> int:
    """Train every combination that has not been trained yet, and say what came of them.

    Args:
        cli: the configured run.
        steps: of each combination.
        output: the folder; None is lightning_logs/map.
        engine: "pool" or "ray".
        workers: processes; None is as many as there are cores.
        memory: GB at most; None is half of what is free.
        values: widths, batch_sizes, lrs, depths, inits and seeds; empty ones are the defaults.

    Returns:
        0; 1 where an executor or the disk failed, 130 on Ctrl-C, 143 on SIGTERM.
    """
    own, config = adapters.own_cell(cli), adapters.map_config(cli, steps)
    grid = grid_of(values, own)
    data = adapters.map_data(cli)
    settings = {**asdict(config), "data": getattr(cli.datamodule, "title", "")}
    settings["samples"] = len(data.inputs)
    try:
        results = Results(output or Path(LOGS) / "map", settings)
    except ResultsError as error:
        raise UsageError(str(error)) from error
    limit = int(memory * 1e9) if memory else available_memory() // 2
    with results:
        if results.dropped:
            say(results.dropped)
        ignored = ", ".join(adapters.ignored_settings(cli))
        code = _train(results, grid, config, data, engine, workers, limit, ignored)
        if code == DONE:
            _report([results.finished[cell] for cell in grid.cells()], own, config, results.folder)
    return code


def grid_of(values: Mapping[str, Sequence[Any]], own: Cell) -> Grid:
    """The cells that are asked for; depth, init and seed are the run's own by default."""
    given: dict[str, Any] = {name: tuple(some) for name, some in values.items() if some}
    if "lrs" in given:
        given["lrs"] = tuple(parse_rates(given["lrs"]))
    default = {"depths": (own.depth,), "inits": (own.init,), "seeds": (own.seed,)}
    return Grid(**{**default, **given})


def _train(
    results: Results,
    grid: Grid,
    config: MapConfig,
    samples: MapData,
    engine: str,
    workers: int | None,
    memory: int,
    ignored: str,
) -> int:
    """Train the cells that are not finished, and keep each that is; the exit code."""
    cells = [cell for cell in grid.cells() if cell not in results.finished]
    if len(cells) < len(grid):
        say(f"{len(grid) - len(cells)} of {len(grid)} cells are in {results.path} already")
    if not cells:
        return DONE
    tasks = split_tasks(tasks_of(cells), config, samples, memory=memory, workers=workers)
    config.module(cells[0])  # refuses what no map can be drawn of
    say(
        describe_plan(tasks, config, samples, workers=workers)
        + f", without {ignored}" * bool(ignored)
    )
    finished = EXECUTORS[engine](tasks, config, samples, workers)
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


def find_lr(cli: Any, steps: int, output: Path | None) -> int:
    """Find the largest stable learning rate of the configured run, and draw the curve.

    Returns:
        0, or 3 where no rate is stable.
    """
    found = find_for(adapters.run_of_steps(cli, steps), steps=steps)
    folder = output or Path(LOGS) / "map"
    folder.mkdir(parents=True, exist_ok=True)
    save(rate_figure(found), folder, CURVE)
    write_atomically(folder / f"{CURVE}.json", found.to_json() + "\n")
    say(str(found))
    say(f"curve {folder} ({CURVE}.json, {CURVE}.png and .svg)")
    return DONE if found.largest else SICK
