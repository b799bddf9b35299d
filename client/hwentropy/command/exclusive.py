"""Options of which one may be given: click itself takes the last one in silence.

Those that fill the same parameter exclude each other: `--hex` and `--base64` of
`get`, which both say what its encoding is.
"""

import click


class OneOf(click.Command):
    """A command that refuses two different options for one parameter."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; raises UsageError that names both options."""
        if not ctx.resilient_parsing:
            self._check(ctx, args)
        return super().parse_args(ctx, args)

    def _check(self, ctx: click.Context, args: list[str]) -> None:
        # The third is every parameter that was met, in the order of the command line.
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        given: dict[str, click.Option] = {}
        for option in order:
            if not isinstance(option, click.Option):
                continue
            other = given.setdefault(option.name, option)
            if other is not option:
                raise click.UsageError(
                    f"give one of {other.opts[0]} and {option.opts[0]}, not both", ctx
                )
