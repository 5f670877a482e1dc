"""Actor-critics: flax.linen modules from observations [n, ...] to (distribution [n], value [n]).

`mlp` and `conv` are the plain networks, `recurrent` has a memory, and `cpu` holds the forms that are quicker on a CPU.
`make` builds one by name, and `check` says in one line what is wrong with a network of your own.
"""
