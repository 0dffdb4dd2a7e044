"""ragtune inside other frameworks. They stand above :class:`ragtune.Project`, as the command line does; nothing in ragtune imports them."""
