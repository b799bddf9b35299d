"""Small faults, one at a time, in the syntax tree of a module: pure.

    comparisons and conditions   < and <=, == and !=, `and` and `or`, a `not` more or less
    arithmetic                   + and -, * and //, shifts, bits
    constants                    one more, twice, the other truth value, a byte more
    calls                        min and max, any and all, the other order of `sorted`,
                                 == where `compare_digest` stands
    statements that do something left out: calls, assignments to what outlives the
                                 function, `raise`, `return`, `continue`, `break`

What is only said (text, annotations, log lines, the words of an exception) is left alone.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Final, TypeAlias

Put: TypeAlias = Callable[[ast.AST], None]

_COMPARED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_CALLED: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
#: Decided elsewhere (`__slots__`, exports), or said and not done.
_SKIPPED_NAMES: Final = {"__slots__", "__all__", "log"}
_LEFT_OUT: Final = (ast.Raise, ast.Return, ast.Continue, ast.Break, ast.Delete)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault; two that read alike in one function are equal."""

    function: str
    """The qualified name, or `<module>`."""
    was: str
    """The statement, or the head of a compound one."""
    becomes: str
    line: int = field(compare=False)
    compiled: Callable[[str], CodeType] = field(compare=False, repr=False)
    """The whole module with this fault, by its file's name."""

    def __str__(self) -> str:
        return f"{self.function}, line {self.line}: {self.was}  ->  {self.becomes}"


def mutants(source: str) -> list[Mutant]:
    """All of a module, in the order of its lines."""
    tree = ast.parse(source)
    return list(_Module(tree).of_body(tree.body, "<module>"))


class _Module:
    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree

    def of_body(self, body: list[ast.stmt], function: str) -> Iterator[Mutant]:
        for at, statement in enumerate(body):
            yield from self._of_statement(body, at, statement, function)

    def _of_statement(
        self, body: list[ast.stmt], at: int, statement: ast.stmt, function: str
    ) -> Iterator[Mutant]:
        if _is_idle(statement):
            return
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = statement.name if function == "<module>" else f"{function}.{statement.name}"
            if not isinstance(statement, ast.ClassDef):
                yield from self._of_head(statement, statement.args, name)
            yield from self.of_body(statement.body, name)
            return
        if _may_be_left_out(statement):

            def put(node: ast.AST) -> None:
                body[at] = node  # type: ignore[call-overload]  # a statement for a statement

            yield self._mutant(function, statement, statement, ast.Pass(), put)
        yield from self._of_head(statement, statement, function)
        for name in ("body", "orelse", "finalbody"):
            yield from self.of_body(getattr(statement, name, []), function)
        for handler in getattr(statement, "handlers", []):
            yield from self.of_body(handler.body, function)
        for case in getattr(statement, "cases", []):
            yield from self.of_body(case.body, function)

    def _of_head(self, shown: ast.stmt, node: ast.AST, function: str) -> Iterator[Mutant]:
        """Of the expressions of a statement, without the statements within it."""
        for old, put in _expressions(node):
            for new in _replacements(old):
                yield self._mutant(function, shown, old, new, put)
        test = getattr(node, "test", None)
        if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr):

            def negate(new: ast.AST) -> None:
                node.test = new  # type: ignore[attr-defined]  # if and while have one

            yield self._mutant(function, shown, test, ast.UnaryOp(ast.Not(), test), negate)

    def _mutant(
        self, function: str, shown: ast.stmt, old: ast.AST, new: ast.AST, put: Put
    ) -> Mutant:
        was = _head(shown)
        put(new)
        becomes = "pass" if isinstance(new, ast.Pass) else _head(shown)
        put(old)

        def compiled(filename: str) -> CodeType:
            put(new)
            try:
                return compile(ast.fix_missing_locations(self._tree), filename, "exec")
            finally:
                put(old)

        return Mutant(function, was, becomes, shown.lineno, compiled)


def _head(statement: ast.stmt) -> str:
    """One line: the statement, of a compound one what stands before its body."""
    lines = ast.unparse(statement).splitlines()
    return next(line for line in lines if not line.startswith("@"))


def _is_idle(statement: ast.stmt) -> bool:
    """Whether it does nothing that a test could miss."""
    match statement:
        case ast.Expr(ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Assert():
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Name(name)))) | ast.Assign([ast.Name(name)]):
            return name in _SKIPPED_NAMES
        case ast.AnnAssign(annotation=ast.Name("TypeAlias")):
            return True
        case ast.If(ast.Name("TYPE_CHECKING")):
            return True
        case _:
            return False


def _may_be_left_out(statement: ast.stmt) -> bool:
    match statement:
        case ast.Return(value):
            return value is None
        case ast.Expr(ast.Call() | ast.Await()) | ast.AugAssign():
            return True
        case ast.Assign(targets):
            return all(isinstance(one, ast.Attribute | ast.Subscript) for one in targets)
        case _:
            return isinstance(statement, _LEFT_OUT)


def _expressions(node: ast.AST) -> Iterator[tuple[ast.AST, Put]]:
    """Every expression below, with what puts another in its place."""
    if isinstance(node, ast.Raise | ast.JoinedStr):
        return
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        children = value if isinstance(value, list) else [value]
        for at, child in enumerate(children):
            if not isinstance(child, ast.expr | ast.keyword | ast.comprehension | ast.withitem):
                continue

            def put(
                new: ast.AST, name: str = name, value: object = value, at: int = at
            ) -> None:
                if isinstance(value, list):
                    value[at] = new
                else:
                    setattr(node, name, new)

            if isinstance(child, ast.expr):
                yield child, put
            yield from _expressions(child)
    if isinstance(node, ast.AugAssign):

        def operate(new: ast.AST) -> None:
            node.op = new  # type: ignore[assignment]  # an operator for an operator

        yield node.op, operate


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, ops, comparators):
            for at, op in enumerate(ops):
                changed = [*ops[:at], _COMPARED[type(op)](), *ops[at + 1 :]]
                yield ast.Compare(left, changed, comparators)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.BinOp(left, op, right) if type(op) in _COMPUTED:
            yield ast.BinOp(left, _COMPUTED[type(op)](), right)
        case ast.operator() if type(node) in _COMPUTED:
            yield _COMPUTED[type(node)]()
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield ast.Constant(value * 2 or 1.0)
        case ast.Constant(bytes(value)):
            yield ast.Constant(value + b"X")
        case ast.Call(ast.Name(name), arguments, keywords) if name in _CALLED:
            yield ast.Call(ast.Name(_CALLED[name], ast.Load()), arguments, keywords)
        case ast.Call(ast.Name("sorted"), arguments, []):
            reverse = ast.keyword("reverse", ast.Constant(value=True))
            yield ast.Call(ast.Name("sorted", ast.Load()), arguments, [reverse])
        case ast.Call(ast.Attribute(_, "compare_digest"), [one, other], []):
            yield ast.Compare(one, [ast.Eq()], [other])
        case _:
            return
