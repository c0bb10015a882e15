"""A shape of messages compiled to Python: the fields that one bitmap names, read or written by a function made for them.

Messages on a link come in few shapes, and a loop that asks of every field what it is takes longer than the work itself. So for a
shape a function is put together as text, out of numbers of the dialect's table and nothing else, and run through exec once, as
dataclasses and named tuples of the standard library are. It only tells right from wrong: None where anything is not as it must
be, or wants padding. codec.py then goes the slow way, which says what is wrong. Read next: codec.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TOO_LONG = 1_000_000  # larger than any field: what a length prefix that is no number counts as


class Step(NamedTuple):
    """One field of a shape: digits of its length prefix (0: fixed), length, and a check, true where every character is right.

    EACH: whether what is right of two values is right of the two written together, and the other way round: fixed fields beside
    each other with one such check are checked at once.
    """

    number: int
    length_digits: int
    length: int
    right: Callable[[str], object]
    each: bool
    binary: bool


def reader(steps: Sequence[Step], lengths: Mapping[str, int]) -> Callable[[str, int], dict[int, str] | None]:
    """A function of a message's text and where its first field begins: the fields, or None. LENGTHS: prefix to number.

    >>> read = reader([Step(3, 0, 6, str.isdigit, True, False), Step(32, 2, 11, str.isdigit, True, False)], {"02": 2})
    >>> read("0200010000" + "0212", 4), read("0200010000" + "0312", 4)
    ({3: '010000', 32: '12'}, None)
    """
    known: dict[str, Any] = {"lengths": lengths.get}
    body: list[str] = []
    told: list[str] = []
    for place, run in enumerate(_runs(steps)):
        first = run[0]
        known[f"right{place}"] = first.right
        if first.length_digits:
            body += [
                f"start = at + {first.length_digits}",
                f"at = start + lengths(text[at:start], {_TOO_LONG})",
                f"part{place} = text[start:at]",
                f"if at - start > {first.length} or not right{place}(part{place}): return None",
            ]
        else:
            total = sum(step.length for step in run)
            body += [
                f"part{place} = text[at:at + {total}]",
                f"if not right{place}(part{place}): return None",
                f"at += {total}",
            ]
        begin = 0
        for step in run:
            value = f"part{place}" if len(run) == 1 else f"part{place}[{begin}:{begin + step.length}]"
            told.append(f"{step.number}: {value}{'.upper()' if step.binary else ''}")
            begin += step.length
    body += ["if at != len(text): return None", "return {" + ", ".join(told) + "}"]
    _function("text, at", body, known)
    made: Callable[[str, int], dict[int, str] | None] = known.pop("made")
    return made


def writer(
    steps: Sequence[Step], head: str, prefixes: Mapping[int, Sequence[str]]
) -> Callable[[str, Mapping[int, str]], str | None]:
    """A function of a message type and fields: the message's text, or None. HEAD: the bitmaps. PREFIXES: digits to prefixes.

    >>> write = writer([Step(3, 0, 6, str.isdigit, True, False)], "2000000000000000", {})
    >>> write("0800", {3: "010000"}), write("0800", {3: "10000"})
    ('08002000000000000000010000', None)
    """
    known: dict[str, Any] = {"head": head} | {f"prefix{digits}": texts for digits, texts in prefixes.items()}
    body, faults, pieces = [], [], ["mti", "head"]
    for place, run in enumerate(_runs(steps)):
        known[f"right{place}"] = run[0].right
        for step in run:
            name = f"field{step.number}"
            body.append(f"{name} = fields[{step.number}]")
            faults.append(f"len({name}) {'>' if step.length_digits else '!='} {step.length}")
            if step.length_digits:
                pieces.append(f"prefix{step.length_digits}[len({name})]")
            pieces.append(name)
        faults.append(f"not right{place}({' + '.join(f'field{step.number}' for step in run)})")
    body.append(f"if {' or '.join(faults)}: return None" if faults else "pass")
    body.append("return f'" + "".join("{" + piece + "}" for piece in pieces) + "'")
    _function("mti, fields", body, known)
    made: Callable[[str, Mapping[int, str]], str | None] = known.pop("made")
    return made


def _runs(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps that one check can serve together."""
    runs: list[list[Step]] = []
    for step in steps:
        before = runs[-1][-1] if runs else None
        together = (
            before is not None
            and before.each
            and before.right is step.right
            and not before.length_digits + step.length_digits
        )
        if together:
            runs[-1].append(step)
        else:
            runs.append([step])
    return runs


def _function(parameters: str, body: Sequence[str], known: dict[str, Any]) -> None:
    """Put the function `made` into KNOWN. Whoever takes it out leaves no circle: a function refers to the names it knows."""
    text = "\n    ".join([f"def made({parameters}):", *body])
    exec(text, known)  # noqa: S102 - numbers of our own table, and names made here
