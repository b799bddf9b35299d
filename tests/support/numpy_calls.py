"""One call of every method of NumPy's Generator and RandomState that draws.

    for name, arguments in GENERATOR.items():
        getattr(rng, name)(*fresh(arguments))

`fresh` copies what a method shuffles in place.  Scalars and arrays take different
ways through NumPy, so most methods are there with both.
"""

import copy
from typing import Any, Final

import numpy as np

#: Methods that draw nothing.
IDLE: Final = {"bit_generator", "spawn", "get_state", "set_state", "seed"}

#: Distributions with the arguments of one draw, which both classes have.
_DISTRIBUTIONS: Final[dict[str, tuple[Any, ...]]] = {
    "beta": (2.0, 3.0),
    "binomial": (10, 0.5),
    "chisquare": (3.0,),
    "dirichlet": ([1.0, 2.0, 3.0],),
    "exponential": (2.0,),
    "f": (3.0, 4.0),
    "gamma": (2.0, 1.0),
    "geometric": (0.3,),
    "gumbel": (0.0, 1.0),
    "hypergeometric": (10, 10, 5),
    "laplace": (0.0, 1.0),
    "logistic": (0.0, 1.0),
    "lognormal": (0.0, 1.0),
    "logseries": (0.5,),
    "multinomial": (10, [0.2, 0.3, 0.5]),
    "multivariate_normal": ([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]]),
    "negative_binomial": (5, 0.5),
    "noncentral_chisquare": (3.0, 1.0),
    "noncentral_f": (3.0, 4.0, 1.0),
    "normal": (0.0, 1.0),
    "pareto": (3.0,),
    "poisson": (5.0,),
    "power": (3.0,),
    "rayleigh": (1.0,),
    "standard_cauchy": (),
    "standard_exponential": (),
    "standard_gamma": (2.0,),
    "standard_normal": (),
    "standard_t": (5.0,),
    "triangular": (0.0, 0.5, 1.0),
    "uniform": (0.0, 1.0),
    "vonmises": (0.0, 1.0),
    "wald": (1.0, 1.0),
    "weibull": (2.0,),
    "zipf": (3.0,),
}
_WITH_SIZE: Final = {name: [(*args,), (*args, 7)] for name, args in _DISTRIBUTIONS.items()}
_TABLE: Final = np.arange(12).reshape(3, 4)
_ORDERS: Final[dict[str, list[tuple[Any, ...]]]] = {
    "permutation": [(9,), ([1, 2, 3],), (_TABLE,)],
    "shuffle": [(np.arange(9),), ([1, 2, 3],), (_TABLE,), (np.array([None, 1, "x"]),)],
}
_INTEGERS: Final = [
    *((0, 100, size, kind) for size in (None, 7) for kind in ("i1", "u2", "i4", "u4", "i8")),
    *((0, 2, size, bool) for size in (None, 7)),
    (0, 2**64, 7, "u8"),
    ([1, 2], [5, 6]),
]

GENERATOR: Final[dict[str, list[tuple[Any, ...]]]] = {
    **_WITH_SIZE,
    **_ORDERS,
    "bytes": [(5,)],
    "choice": [
        *((9,), (9, 3), (9, 3, False), (20_000, 5_000, False)),
        *(([1, 2, 3], 2, True, [0.2, 0.3, 0.5]), ([1, 2, 3], 2, False, [0.2, 0.3, 0.5])),
    ],
    "integers": _INTEGERS,
    "multivariate_hypergeometric": [([5, 6], 3), ([5, 6], 3, 7, "count")],
    "permuted": [(_TABLE,), (np.array([None, 1, "x"]),)],
    "random": [(), (7,), (None, np.float32), (7, np.float32)],
    "standard_exponential": [(), (7,), (7, np.float32), (7, np.float64, "inv")],
    "standard_gamma": [(2.0,), (2.0, 7), (2.0, 7, np.float32)],
    "standard_normal": [(), (7,), (7, np.float32)],
}

RANDOM_STATE: Final[dict[str, list[tuple[Any, ...]]]] = {
    **_WITH_SIZE,
    **_ORDERS,
    "bytes": [(5,)],
    "choice": [(9,), (9, 3), (9, 3, False), ([1, 2, 3], 2, True, [0.2, 0.3, 0.5])],
    "rand": [(), (7,)],
    "randint": _INTEGERS,
    "randn": [(), (7,)],
    "random": [(), (7,)],
    "random_integers": [(9,), (9, 10, 7)],
    "random_sample": [(), (7,)],
    "tomaxint": [(), (7,)],
}


def methods(kind: type) -> set[str]:
    """The public methods of a class that draw."""
    return {name for name in dir(kind) if not name.startswith("_")} - IDLE


def fresh(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Arguments of a call's own."""
    return copy.deepcopy(arguments)
