"""Spawned: the main module of a process that multiprocessing starts anew under `lamina run`: the script, with lamina behind `import torch`.

A new process imports the main module of the one that started it before it is given anything to do. Under `lamina run` that is this file,
run under the name ``__mp_main__``: it reads the script, which does not take its name for ``__main__``.
"""

import os

MAIN = "_LAMINA_MAIN"
"""The variable that names the script."""

if __name__ == "__mp_main__":
    from lamina.pyfront import import_hook
    from lamina.pyfront.command.failure import show_warnings_plainly
    from lamina.pyfront.command.run import read_script

    import_hook.install()
    show_warnings_plainly()
    __file__ = os.environ[MAIN]
    __package__ = ""
    exec(read_script(__file__)[1])  # noqa: S102  # the user's own script, which the other process runs, too
