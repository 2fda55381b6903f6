"""LightningCLI with this package's defaults, and with its silent successes turned into errors."""

import inspect
import shutil
import sys
from functools import partial, update_wrapper
from importlib import import_module
from pathlib import Path
from types import MethodType
from typing import Any, get_args, get_type_hints

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from torchmlp._compat.lightning import pl
from torchmlp._compat.lightning_internals import defaults_of_subcommand
from torchmlp._runtime.atomic_file import write_atomically
from torchmlp.cli.parsing.arguments import names_in, values_of
from torchmlp.cli.parsing.defaults import DEFAULTS, TRAINER_DEFAULTS
from torchmlp.cli.parsing.renamed_classes import read_old_names
from torchmlp.cli.running.processes import Processes
from torchmlp.cli.running.purpose import Purpose
from torchmlp.cli.terminal.errors import UsageError, explain, short
from torchmlp.cli.terminal.exit_codes import DONE
from torchmlp.cli.terminal.streams import say
from torchmlp.diagnosis.monitor import HealthMonitor
from torchmlp.lightning.callbacks.progress import progress
from torchmlp.lightning.callbacks.stopping import Stopping
from torchmlp.lightning.callbacks.terminate_on_nonfinite import (
    TerminateOnNonFinite,
)
from torchmlp.lightning.checkpoints.best_and_last import best_and_last
from torchmlp.lightning.checkpoints.files import AtomicCheckpointIO
from torchmlp.lightning.checkpoints.run_state import RunState
from torchmlp.lightning.checkpoints.save_when_interrupted import SaveWhenInterrupted
from torchmlp.lightning.classifier import Classifier
from torchmlp.lightning.datamodule import ImageDataModule
from torchmlp.lightning.run_folder import loggers_for, new_run_folder
from torchmlp.lightning.schedules import for_lightning
from torchmlp.nn.param_groups import scale_rates

from pytorch_lightning.cli import (  # isort: skip  after torchvision's repair
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
    instantiate_class,
)

# What a run that fails leaves behind; a folder with none of it is removed.
KEPT = ("metrics.csv", "checkpoints/*.ckpt", "broken.pt", "diagnosis.json")
BASES = {
    "model": pl.LightningModule,
    "data": pl.LightningDataModule,
    "optimizer": Optimizer,
    "lr_scheduler": LRScheduler,
}


class Parser(LightningArgumentParser):
    """LightningCLI's parser; a mistake is a `UsageError`, never a usage dump."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise what the user will read."""
        classes = {key: [c.__name__ for c in _subclasses(base)] for key, base in BASES.items()}
        raise UsageError(explain(message, self._known_options(), classes)) from ex

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse's own keeps silent about a full disk

    def _known_options(self) -> list[str]:
        parsers = [self, *getattr(self._subcommands_action, "_name_parser_map", {}).values()]
        options = [o for p in parsers for action in p._actions for o in action.option_strings]  # noqa: SLF001  argparse has no public list
        for key, owner in (("model", Classifier), ("data", ImageDataModule)):
            options += [f"--{key}.{name}" for name in inspect.signature(owner).parameters]
        return options


class SaveConfig(SaveConfigCallback):
    """Saves the configuration of a run with the data that were really used, not with "auto".

    It goes into the run's folder, and nowhere where there is none.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Lightning calls this once the data are loaded."""
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, ImageDataModule) and not self.already_saved:
            self.config.data.init_args.source = data.source
            for logger in trainer.loggers:
                logger.log_hyperparams({"data": data.title, "source": data.source})
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write it whole or not at all; Lightning's own, which does not, is switched off."""
        del pl_module, stage
        # Only the first process is here: trainer.log_dir would wait for the others.
        folders = [
            getattr(logger, "log_dir", None) or logger.save_dir for logger in trainer.loggers
        ]
        if folders and folders[0] is not None:
            text = self.parser.dump(self.config, skip_none=False)
            write_atomically(Path(folders[0]) / self.config_filename, text)


class ConfiguredRun(LightningCLI):
    """A model, data and a trainer as a command line names them, for what the command does.

    Args:
        words: LightningCLI's own, the command first.
        purpose: what is done.
        interruption: hears Ctrl-C and SIGTERM.
    """

    def __init__(
        self, words: list[str], purpose: Purpose, interruption: SaveWhenInterrupted
    ) -> None:
        self.words, self.purpose, self.interruption = words, purpose, interruption
        self.exit_code = DONE
        self.monitor: HealthMonitor | None = None
        self.configurations = values_of(words, "--config") + values_of(words, "-c")
        self.checkpoints: pl.callbacks.ModelCheckpoint | None = None
        self.folder: Path | None = None
        self.configures_optimizer = False  # whether the module trains by the optimizer given here
        self._is_asked = False  # whether Lightning has had the optimizer added
        read_old_names()
        try:
            super().__init__(
                pl.LightningModule,
                pl.LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                parser_class=Parser,
                save_config_callback=SaveConfig,
                save_config_kwargs={"save_to_log_dir": False},
                seed_everything_default=0,
                trainer_defaults=TRAINER_DEFAULTS,
                run=True,
                args=words,
            )
        except BaseException:
            if self.folder and not any(path for name in KEPT for path in self.folder.glob(name)):
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def given(self) -> Any:
        """The command's configuration, with classes instantiated."""
        return self.config_init[self.subcommand]

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Of the words handed over; Lightning's own warns where sys.argv holds some too."""
        self.config = parser.parse_args(args)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that takes no abbreviations: `--trainer.max_epoch` is a mistake."""
        return super().init_parser(allow_abbrev=False, **kwargs)

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        # The other commands' arguments are not asked for, and take as long as this one's.
        if subcommand != self.words[0]:
            return self.init_parser(**kwargs)
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The defaults, and the stopping conditions under `--stop`."""
        parser.add_lightning_class_args(Stopping, "stop")
        parser.add_optimizer_args()
        parser.add_lr_scheduler_args()
        parser.add_argument(
            "--health", type=bool, default=True, help="whether a HealthMonitor watches a fit"
        )
        parser.set_defaults(DEFAULTS)

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            seed = self.config[self.subcommand].seed_everything
            raise UsageError(f"--seed: expected 0 to {2**32 - 1}, got {seed}") from error

    def before_instantiate_classes(self) -> None:
        """Give a Classifier left at its defaults the sizes of the data's images."""
        config = self.config[self.subcommand]
        for key in BASES:
            if settings := config.get(key):
                _check_nulls(key, settings.get("init_args") or {}, _class(settings.class_path))
        _check_nulls("stop", config.stop, Stopping)
        model, data, trainer = config.model, config.data, config.trainer
        counted = trainer.max_epochs == TRAINER_DEFAULTS["max_epochs"]
        if (
            trainer.max_steps != -1
            and counted
            and "--trainer.max_epochs" not in names_in(self.words)
        ):
            trainer.max_epochs = -1  # who counts in steps has not asked for our number of epochs
        if (model.class_path, data.class_path) != tuple(
            DEFAULTS[key]["class_path"] for key in ("model", "data")
        ):
            return
        sizes = ImageDataModule.sizes(data.init_args.dataset)
        defaults = inspect.signature(Classifier).parameters
        for name, size in zip(("in_features", "out_features"), sizes, strict=True):
            if model.init_args[name] == defaults[name].default:
                model.init_args[name] = size

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        """Lightning's, with the rates of the model's parametrization."""
        del subcommand
        self._is_asked = True
        own = type(self.model).configure_optimizers
        ours = (pl.LightningModule.configure_optimizers, Classifier.configure_optimizers)
        if own not in ours and not self._asks_for_optimizer():
            return  # a module that brings its own optimizer keeps it until one is asked for
        init, then = (self.given[key] for key in ("optimizer", "lr_scheduler"))
        if not init:
            return
        self.configures_optimizer = True
        try:
            # Between the two, for a scheduler keeps the rates that it is made with.
            optimizer = scale_rates(instantiate_class(self.model.parameters(), init), self.model)
            scheduler = instantiate_class(optimizer, then) if then else None
        except (ValueError, TypeError) as error:  # torch's word on a negative learning rate
            given = {"optimizer": init, "lr_scheduler": then or {}}
            raise UsageError(short(f"{_flag_of(str(error), given)}{error}")) from error
        configure = partial(self.configure_optimizers, optimizer=optimizer, lr_scheduler=scheduler)
        update_wrapper(configure, self.configure_optimizers)  # Lightning asks whose it is
        self.model.configure_optimizers = MethodType(configure, self.model)

    def after_instantiate_classes(self) -> None:
        """Add the optimizer, where a Lightning that calls the above otherwise has added its own."""
        if not self._is_asked:
            self._add_configure_optimizers_method_to_model(self.subcommand)

    def _asks_for_optimizer(self) -> bool:
        """Whether a flag names an optimizer or scheduler, or a configuration another than ours."""
        keys = ("optimizer", "lr_scheduler")
        named = {name.lstrip("-").partition(".")[0] for name in names_in(self.words)}
        defaults = defaults_of_subcommand(self)
        config = self.config[self.subcommand]
        return any(key in named or config[key] != defaults.get(key, config[key]) for key in keys)

    @staticmethod
    def configure_optimizers(
        lightning_module: pl.LightningModule,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler | None = None,
    ) -> Any:
        """Step each scheduler as often as it means to be."""
        return for_lightning(lightning_module, optimizer, lr_scheduler)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """The trainer with this package's loggers, checkpoints and progress."""
        given = self.given["trainer"]
        if given["accelerator"] in ("gpu", "cuda") and not _has_gpu():
            raise UsageError(
                f"--accelerator {given['accelerator']}: expected a GPU, torch {torch.__version__} "
                f"sees none; use --accelerator auto (takes one when there is one) or cpu"
            )
        callbacks = [TerminateOnNonFinite(), self.interruption, RunState()]
        if self._watches(given):
            self.monitor = HealthMonitor()
            callbacks.append(self.monitor)
        if not given["fast_dev_run"]:
            if not self.purpose.has_run_folder:
                kwargs["logger"] = False
            elif given["logger"] in (None, True) and _rank() == 0:
                self.folder = new_run_folder(given["default_root_dir"] or ".")
                kwargs["logger"] = loggers_for(self.folder)
            if self.subcommand == "fit" and given["enable_checkpointing"] is not False:
                validated = not isinstance(self.datamodule, ImageDataModule) or (
                    self.datamodule.val_size != 0
                )
                monitor = getattr(self.model, "monitor", None) if validated else None
                self.checkpoints = best_and_last(monitor)
                callbacks.append(self.checkpoints)
        if given["enable_progress_bar"] is not False:
            callbacks.append(progress(in_terminal=sys.stdout.isatty()))
            kwargs["enable_progress_bar"] = sys.stdout.isatty()
        if given["enable_model_summary"] is not False:
            callbacks.append(pl.callbacks.RichModelSummary(max_depth=3))
        kwargs["plugins"] = [*_as_list(given["plugins"]), AtomicCheckpointIO()]
        kwargs["callbacks"] = [*_as_list(given["callbacks"]), *callbacks]
        trainer = super().instantiate_trainer(**kwargs)
        self.processes = Processes(trainer, self.interruption.interruption, self.words)
        return trainer

    def _watches(self, given: Any) -> bool:
        """Whether a monitor looks at the run: a fit that is meant, unless it is not wanted."""
        return bool(self.purpose.trains and self.given["health"]) and not given["fast_dev_run"]

    def fit(self, **arguments: Any) -> None:
        """What the command is for, with the run that its line configures."""
        try:
            self.exit_code = self.purpose.action(self, arguments)
        except Exception as error:
            if lost := self.processes.lost(error):
                raise lost from error
            raise

    validate = test = predict = fit

    def say(self, line: str) -> None:
        """Print a line, once for all processes."""
        if self.trainer.is_global_zero:
            say(line)


def _flag_of(complaint: str, given: dict[str, Any]) -> str:
    """The flag whose value a complaint ends with, or else the section whose class complains."""
    for section, settings in given.items():
        for name, value in (settings.get("init_args") or {}).items():
            if value is not None and complaint.endswith(f" {value}"):
                return f"--{section}.{name}: "
    return ""


def _class(path: str) -> Any:
    """The class that the parser has found under a name."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _check_nulls(section: str, settings: Any, owner: Any) -> None:
    """Refuse null where a number or a name is expected: the parser takes it for not given.

    Raises:
        UsageError: an argument is null, and is neither so by default nor may be.
    """
    try:
        hints = get_type_hints(owner.__init__)
    except (NameError, TypeError, AttributeError):
        return  # a class whose annotations cannot be read is left to itself
    for name, parameter in inspect.signature(owner).parameters.items():
        hint = hints.get(name)
        may = hint in (None, Any) or type(None) in get_args(hint) or parameter.default is None
        if name in settings and settings[name] is None and not may:
            kind = getattr(hint, "__name__", str(hint))
            raise UsageError(f"--{section}.{name}: expected a value of type {kind}, got null")


def _as_list(one_or_more: Any) -> list[Any]:
    """What Lightning takes alone or in a list, as a list."""
    return one_or_more if isinstance(one_or_more, list) else [one_or_more] if one_or_more else []


def _rank() -> int:
    """This process's rank among all, as its launcher's environment tells."""
    return getattr(pl.utilities.rank_zero_only, "rank", None) or 0


def _has_gpu() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _subclasses(base: type) -> list[type]:
    children: list[type] = base.__subclasses__()
    return [c for child in children for c in (child, *_subclasses(child))]
