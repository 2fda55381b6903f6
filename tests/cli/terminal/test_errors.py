from torchmlp.cli.terminal.errors import explain, innermost, short

OPTIONS = ["--model.hidden", "--trainer.max_epochs", "--data.batch_size", "--optimizer"]
CLASSES = {"optimizer": ["SGD", "Adam"]}


def test_a_message_is_cut_to_three_lines() -> None:
    """Empty lines do not count, spaces are joined, and no line is longer than a paragraph."""
    assert short("\n one  two\n\n three\nfour\nfive") == "one two\nthree\nfour"
    assert short("a\nb", lines=1) == "a"
    assert len(short("x" * 5000)) == 300


def test_unknown_options_name_the_nearest() -> None:
    """The last part of a dotted name is what is compared, with dashes as underscores."""
    for name, near in (
        ("--max_epoch", "--trainer.max_epochs"),
        ("--trainer.max-epochs", "--trainer.max_epochs"),
        ("--batchsize", "--data.batch_size"),
    ):
        message = f"unrecognized arguments: {name} 3"
        assert explain(message, OPTIONS, CLASSES).startswith(
            f"unknown option {name}; did you mean {near}?"
        )
    assert "did you mean" not in explain("unrecognized arguments: --zzzzz", OPTIONS, CLASSES)


def test_unknown_classes_name_the_nearest() -> None:
    """A class that is not known by its short name may be given by its path."""

    def complaint(value: str) -> str:
        return f'Parser key "optimizer":\nimport path expected\nGot value: {value}'

    assert explain(complaint("Adm"), OPTIONS, CLASSES) == (
        "optimizer: unknown class 'Adm'; did you mean Adam?"
    )
    assert explain(complaint("zz"), OPTIONS, CLASSES).endswith(
        "expected a class, as package.module.Class"
    )


def test_what_is_not_understood_is_passed_on() -> None:
    """A message of an unknown form is shown, not swallowed."""
    assert explain("something else\nentirely", OPTIONS, CLASSES) == "something else\nentirely"
    assert innermost("something else") == "something else"
